"""Captures that are kept: those of the built-in models in the package, all others in the user's cache.

A capture takes seconds and needs torch and diffusers; its result is a small file of JSON. So an estimate of a
built-in model loads neither.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import zlib
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from hqsim.errors import InputError
from hqsim.graph.garbage import uncollected
from hqsim.io import cache_folder, write_bytes_atomic
from hqsim.models.architecture import Architecture, Blueprint

GRAPHS = Path(__file__).parent / "graphs"
_SOURCES = (*sorted((Path(__file__).parents[1] / "graph").glob("*.py")), Path(__file__).with_name("build.py"))
"""Files whose change may change a capture."""


@cache
@uncollected()
def shipped(name: str) -> Architecture:
    """Return the architecture of a built-in model.

    Raises
    ------
    InputError
        When its file is missing or damaged.
    """
    path = GRAPHS / f"{name}.json.gz"
    try:
        return Architecture.from_json(read(path)["architecture"])
    except (OSError, EOFError, zlib.error, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: not a captured graph ({error}); install hqsim again") from None


@uncollected()
def captured(blueprint: Blueprint) -> Architecture:
    """Return the architecture of ``blueprint``, from the user's cache where it has been captured before.

    The cache's file is named by everything that decides its content: the blueprint, hqsim's own sources, and
    the versions of torch and diffusers. A damaged one is made again; a folder that cannot be written is no
    error.

    Raises
    ------
    InputError, UnsupportedError
        As :func:`hqsim.models.build.build`.
    """
    path = cache_folder() / "graphs" / f"{_key(blueprint)}.json.gz"
    with suppress(OSError, EOFError, zlib.error, KeyError, TypeError, ValueError):
        return Architecture.from_json(read(path)["architecture"])
    from hqsim.models.build import build

    architecture = build(blueprint)
    with suppress(OSError, InputError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path, blueprint, architecture)
    return architecture


def write(path: Path, blueprint: Blueprint, architecture: Architecture) -> None:
    """Write an architecture and what it was captured from; equal content gives equal bytes."""
    content = {"blueprint": blueprint.to_json(), "architecture": architecture.to_json()}
    text = json.dumps(content, separators=(",", ":"))
    write_bytes_atomic(path, gzip.compress(text.encode(), compresslevel=9, mtime=0))


def read(path: Path) -> Mapping[str, Any]:
    """Return the JSON content of such a file: ``blueprint`` and ``architecture``."""
    content: Mapping[str, Any] = json.loads(gzip.decompress(path.read_bytes()))
    return content


def _key(blueprint: Blueprint) -> str:
    digest = hashlib.sha256(json.dumps(blueprint.to_json(), sort_keys=True).encode())
    for source in _SOURCES:
        digest.update(source.read_bytes())
    for package in ("torch", "diffusers"):
        digest.update(f"{package} {version(package)}".encode())
    return digest.hexdigest()[:32]
