"""A nested manifest as flat lines: depth, key, value."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class ManifestLine:
    """One line; ``value`` is None for the heading of a nested part."""

    depth: int
    key: str
    value: str | None


def manifest_lines(manifest: Mapping[str, Any]) -> tuple[ManifestLine, ...]:
    """Return ``manifest`` line by line, nested mappings and lists of them indented under their key."""
    return tuple(_lines(manifest.items(), 0))


def _lines(pairs: Any, depth: int) -> Iterator[ManifestLine]:
    for key, value in pairs:
        if isinstance(value, Mapping) and value:
            yield ManifestLine(depth, str(key), None)
            yield from _lines(value.items(), depth + 1)
        elif _is_list(value) and any(isinstance(item, Mapping) or _is_list(item) for item in value):
            yield ManifestLine(depth, str(key), None)
            yield from _lines(enumerate(value), depth + 1)
        elif _is_list(value):
            yield ManifestLine(depth, str(key), ", ".join(str(item) for item in value))
        else:
            yield ManifestLine(depth, str(key), "" if value is None or value == {} else str(value))


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes))
