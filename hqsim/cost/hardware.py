"""Accelerators by name or by file, and as plain data."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from hqsim.cost.machine import Hardware
from hqsim.cost.schema import HardwareFile
from hqsim.errors import InputError, unknown_name
from hqsim.io.yaml import parse_yaml, read_yaml, validate_yaml

_PACKAGE = Path(__file__).resolve().parents[1]


def hardware_folder() -> Path:
    """Return the folder of the shipped accelerators: inside the package, else the repository's own."""
    packaged = _PACKAGE / "_hw_models"
    return packaged if packaged.is_dir() else _PACKAGE.parent / "hw_models"


def list_hardware() -> list[str]:
    """Return the names of the shipped accelerators, sorted."""
    return sorted(path.stem for path in hardware_folder().glob("*.yaml"))


def hardware_path(name_or_path: str | Path) -> Path:
    """Return the file of a shipped accelerator's name, or the path itself when it is one.

    A ``Path``, or text with a folder separator or ending in ``.yaml`` or ``.yml``, is a path.

    Raises
    ------
    InputError
        For an unknown name (the nearest one suggested), or a file that does not exist.
    """
    path = Path(name_or_path)
    plain = isinstance(name_or_path, str) and path.name == name_or_path
    if isinstance(name_or_path, str) and plain and path.suffix not in {".yaml", ".yml"}:
        known = list_hardware()
        if name_or_path not in known:
            raise unknown_name("hardware", name_or_path, known)
        return hardware_folder() / f"{name_or_path}.yaml"
    if not path.is_file():
        raise InputError(
            f"hardware file '{path}' does not exist; give the path of an accelerator YAML "
            f"or one of: {', '.join(list_hardware())}."
        )
    return path


def load_hardware(name_or_path: str | Path) -> Hardware:
    """Load an accelerator by its shipped name or from a YAML file.

    Raises
    ------
    InputError
        For an unknown name, a missing or malformed file, or values that the schema refuses (all of
        them at once, each with file, line and column).
    """
    path = hardware_path(name_or_path)
    return _hardware(read_yaml(path), path)


@lru_cache(maxsize=32)
def _hardware(text: str, path: Path) -> Hardware:
    document = parse_yaml(text, str(path), own=path.parent == hardware_folder())
    return validate_yaml(document, HardwareFile).hardware(lambda path: str(document.error(path, "")))


def hardware_json(hardware: Hardware) -> dict[str, Any]:
    """Return an accelerator as plain data; a matrix unit's geometry with its kind as files name it."""
    plain = plain_value(hardware)
    for unit, values in zip(hardware.matrix, plain["matrix"], strict=True):
        kind = re.sub(r"(?<!^)(?=[A-Z])", "_", type(unit.geometry).__name__).lower()
        values["geometry"] = {"kind": kind, **values["geometry"]}
    return dict(plain)


def plain_value(value: Any) -> Any:
    """Return dataclasses, mappings, sets and tuples as dictionaries and lists."""
    if is_dataclass(value) and not isinstance(value, type):
        # Places in files are for errors; they are no part of the machine.
        return {item.name: plain_value(getattr(value, item.name)) for item in fields(value) if item.repr}
    if isinstance(value, Mapping):
        return {key: plain_value(inner) for key, inner in value.items()}
    if isinstance(value, frozenset):
        return sorted(value)
    if isinstance(value, tuple):
        return [plain_value(inner) for inner in value]
    return value
