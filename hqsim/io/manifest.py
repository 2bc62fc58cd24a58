"""The manifest of an artefact folder: where it came from, and a checksum of every file in it.

A manifest tells damage, mixed-up files and edits by hand. It is not signed, so it is no defence against
someone who rewrites it too.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path, PurePosixPath

from pydantic import BaseModel, ConfigDict, Field, ValidationError

import hqsim
from hqsim.errors import InputError
from hqsim.io.atomic import write_text_atomic

MANIFEST_NAME = "manifest.json"

Sha256 = str
_LIBRARIES = ("diffusers", "numba", "numpy", "torch")
_SHOWN_DIGITS = 12
_SHA256_PATTERN = "^[0-9a-f]{64}$"


class FileEntry(BaseModel):
    """One file of the folder: its checksum and size."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    sha256: Sha256 = Field(pattern=_SHA256_PATTERN)
    size_bytes: int = Field(ge=0)


class Manifest(BaseModel):
    """The content of ``manifest.json``; ``files`` are keyed by their path in the folder, with ``/``."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    kind: str
    format_version: int = Field(ge=1)
    created: str
    versions: dict[str, str | None]
    settings: dict[str, object]
    inputs: dict[str, str]
    files: dict[str, FileEntry]


def sha256_file(path: Path) -> Sha256:
    """Return the SHA-256 of a file as 64 hexadecimal digits.

    Raises
    ------
    InputError
        If the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error


def write_manifest(
    folder: Path,
    *,
    kind: str,
    format_version: int,
    settings: Mapping[str, object],
    inputs: Mapping[str, str],
) -> None:
    """Write ``manifest.json`` about every file that is now in ``folder`` and its subfolders.

    Parameters
    ----------
    kind
        What the folder holds, for example ``quantized-model``.
    settings
        JSON values that made the artefact: recipe, seed, steps.
    inputs
        SHA-256 of what the artefact was made from, by name.

    Raises
    ------
    InputError
        If a setting is not a finite JSON value, or the folder cannot be read or written.
    """
    manifest = {
        "kind": kind,
        "format_version": format_version,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": _versions(),
        "settings": dict(settings),
        "inputs": dict(inputs),
        "files": {
            name: {"sha256": sha256_file(folder / name), "size_bytes": (folder / name).stat().st_size}
            for name in _files_in(folder)
        },
    }
    try:
        text = json.dumps(manifest, indent=2, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{folder / MANIFEST_NAME}: a setting is not a finite JSON value: {error}"
        ) from error
    write_text_atomic(folder / MANIFEST_NAME, text + "\n")


def verify_manifest(folder: Path, kind: str) -> Manifest:
    """Check every file of ``folder`` against its manifest and return the manifest.

    Raises
    ------
    InputError
        If the folder has no readable manifest, is of another kind, a listed file is missing or differs,
        or an unlisted file stands beside listed ones of the same suffix; all files are named at once.
    """
    manifest = _read_manifest(folder)
    if manifest.kind != kind:
        raise InputError(f"{folder}: is a '{manifest.kind}' folder, not a '{kind}' folder")
    faults = [fault for name, entry in manifest.files.items() if (fault := _fault(folder, name, entry))]
    suffixes = {PurePosixPath(name).suffix for name in manifest.files}
    faults += [
        f"{folder / name}: is not in {MANIFEST_NAME}; take it out of the folder"
        for name in _files_in(folder)
        if name not in manifest.files and PurePosixPath(name).suffix in suffixes
    ]
    if faults:
        raise InputError("\n".join(faults))
    return manifest


def _read_manifest(folder: Path) -> Manifest:
    path = folder / MANIFEST_NAME
    if not folder.is_dir():
        raise InputError(f"{folder}: there is no such folder")
    if not path.is_file():
        raise InputError(
            f"{folder}: has no {MANIFEST_NAME}; it was not made by hqsim, or its making was interrupted"
        )
    try:
        manifest = Manifest.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        at = f" at '{where}'" if where else ""
        raise InputError(
            f"{path}: damaged manifest{at}: {first['msg']}; make the artefact again or restore it"
        ) from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error
    for name in manifest.files:
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise InputError(f"{path}: lists '{name}', which lies outside the folder")
    return manifest


def _fault(folder: Path, name: str, entry: FileEntry) -> str | None:
    path = folder / name
    if not path.is_file():
        return f"{path}: is listed in {MANIFEST_NAME} but missing; make the artefact again or restore it"
    found = sha256_file(path)
    if found == entry.sha256:
        return None
    return (
        f"{path}: sha256 is {found[:_SHOWN_DIGITS]}, {MANIFEST_NAME} says {entry.sha256[:_SHOWN_DIGITS]} "
        f"({path.stat().st_size} bytes, {entry.size_bytes} expected): "
        "tampered or damaged; make it again or restore it"
    )


def _files_in(folder: Path) -> list[str]:
    paths = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return sorted(name for name in paths if name != MANIFEST_NAME)


def _versions() -> dict[str, str | None]:
    return {
        "hqsim": hqsim.__version__,
        "python": platform.python_version(),
        **{name: _installed_version(name) for name in _LIBRARIES},
    }


def _installed_version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
