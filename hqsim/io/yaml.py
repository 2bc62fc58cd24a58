"""Strict YAML files: loaded with limits, checked against a schema, every error with ``file:line:column``."""

from __future__ import annotations

import codecs
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from hqsim.errors import InputError
from hqsim.io.yaml_schema import schema_faults
from hqsim.io.yaml_tree import Place, Position, YamlValue, build_tree, shorten

__all__ = ["MAX_SIZE_BYTES", "YamlDocument", "YamlValue", "load_yaml", "parse_yaml", "validate_yaml"]

MAX_SIZE_BYTES = 1 << 20

ModelT = TypeVar("ModelT", bound=BaseModel)


@dataclass(frozen=True)
class YamlDocument:
    """Plain data of one YAML document and the place of everything in it.

    ``source`` is the name that stands in front of errors, usually the file.
    """

    source: str
    data: YamlValue
    root: Place = field(repr=False)

    def locate(self, path: tuple[str | int, ...], *, key: bool = False) -> Position:
        """Return ``(line, column)``, counted from 1, of the value at ``path``, or of its key.

        For a path that does not exist the place of its nearest ancestor that does.
        """
        place, found = self.root, True
        for part in path:
            found = part in place.children
            if not found:
                break
            place = place.children[part]
        return place.key if key and found else place.value

    def error(self, path: tuple[str | int, ...], text: str) -> InputError:
        """Return an InputError about the value at ``path``: ``file:line:column: path.to.key: text``."""
        line, column = self.locate(path)
        where = f"{format_path(path)}: " if path else ""
        return InputError(f"{self.source}:{line}:{column}: {where}{text}")


def format_path(path: tuple[str | int, ...]) -> str:
    """Return ``levels[0].size_bytes`` for ``("levels", 0, "size_bytes")``."""
    parts = (f"[{part}]" if isinstance(part, int) else f".{shorten(part)}" for part in path)
    return "".join(parts).removeprefix(".")


def load_yaml(path: Path, *, own: bool = False) -> YamlDocument:
    """Read one YAML 1.2 document from a UTF-8 file of at most ``MAX_SIZE_BYTES``.

    ``own`` files are those that the package ships: their YAML is correct, and read faster.

    Raises
    ------
    InputError
        If the file is missing, too large, not UTF-8, or refused by `parse_yaml`.
    """
    return parse_yaml(read_yaml(path), str(path), own=own)


def read_yaml(path: Path) -> str:
    """Return the text of such a file. Raises InputError if it is missing, too large, or not UTF-8."""
    if path.is_dir():
        raise InputError(f"{path}: is a folder; give a YAML file")
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_SIZE_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise InputError(f"{path}: cannot be read: {reason}") from error
    return _decode(raw, str(path))


def parse_yaml(text: str, source: str, *, own: bool = False) -> YamlDocument:
    """Parse one YAML 1.2 document; ``source`` names it in errors, ``own`` is as in :func:`load_yaml`.

    Plain scalars follow the YAML 1.2 core schema: ``7e-12``, ``.5``, ``0x1F``, ``0o17`` and ``010``
    (ten) are numbers; ``true`` and ``false`` booleans; ``no``, ``yes``, ``on``, ``1:30``, ``1_000`` text.

    Raises
    ------
    InputError
        ``source:line:column: what is wrong`` for malformed text, duplicate or non-text keys, tabs in the
        indentation, tags, merge keys, several documents, and for text beyond the limits on size, depth,
        aliases and number of values.
    """
    if len(text.encode("utf-8", "surrogatepass")) > MAX_SIZE_BYTES:
        raise _too_large(source)
    data, root = build_tree(text.removeprefix("\ufeff"), source, own=own)
    return YamlDocument(source, data, root)


def validate_yaml(document: YamlDocument, model: type[ModelT]) -> ModelT:
    """Check a document against a pydantic model, strictly, and return the model's instance.

    Values are checked as strict JSON: a list fills a tuple or set, an integer fills a float; text never
    becomes a number and a boolean never becomes an integer.

    Raises
    ------
    InputError
        All faults at once in the order of the file, one line each:
        ``file:line:column: path.to.key: what is wrong, what is allowed``.
    """
    try:
        return model.model_validate_json(json.dumps(document.data), strict=True)
    except ValidationError as error:
        lines = []
        for fault in schema_faults(error.errors(include_url=False), document.data, model):
            position = document.locate(fault.path, key=fault.at_key)
            where = f"{format_path(fault.path)}: " if fault.path else ""
            lines.append((position, f"{document.source}:{position[0]}:{position[1]}: {where}{fault.text}"))
        raise InputError("\n".join(line for _, line in sorted(lines))) from error


def _too_large(source: str) -> InputError:
    return InputError(f"{source}:1:1: larger than {MAX_SIZE_BYTES} bytes, the limit for a YAML file")


def _decode(raw: bytes, source: str) -> str:
    if len(raw) > MAX_SIZE_BYTES:
        raise _too_large(source)
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise InputError(f"{source}:1:1: the file is UTF-16; save it as UTF-8")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        before = raw[: error.start].decode("utf-8")
        line, column = before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1
        raise InputError(
            f"{source}:{line}:{column}: byte 0x{raw[error.start]:02X} is not UTF-8; save the file as UTF-8"
        ) from error
