"""The run folder: everything measured of one quantized model, one file per part (traces/FORMAT.md)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from hqsim.errors import InputError
from hqsim.io import (
    new_folder,
    read_tensors,
    verify_manifest,
    write_manifest,
    write_tensors,
    write_text_atomic,
)

if TYPE_CHECKING:
    import pandas as pd

KIND = "trace"
FORMAT_VERSION = 1
TABLES = (
    "layers",
    "activations",
    "weights",
    "codes",
    "accumulators",
    "errors",
    "sensitivity",
    "growth",
    "quality",
    "cost",
    "totals",
)
TENSORS = MappingProxyType({"arrays": "arrays", "operand_codes": "codes", "images": "images"})
"""Attributes that hold arrays, and the files that they are kept in."""


def _empty() -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame()


@dataclass(frozen=True, eq=False, kw_only=True)
class Run:
    """What was measured of one quantized model; a part that was not is an empty frame or mapping.

    ``name`` is the recipe's name. Frames and arrays are those of the files of the same name
    (``operand_codes`` is codes.safetensors); ``manifest`` holds ``settings`` and ``inputs``, and once it was
    written everything that manifest.json says.
    """

    name: str
    manifest: Mapping[str, Any]
    layers: pd.DataFrame = field(default_factory=_empty)
    activations: pd.DataFrame = field(default_factory=_empty)
    weights: pd.DataFrame = field(default_factory=_empty)
    codes: pd.DataFrame = field(default_factory=_empty)
    accumulators: pd.DataFrame = field(default_factory=_empty)
    errors: pd.DataFrame = field(default_factory=_empty)
    sensitivity: pd.DataFrame = field(default_factory=_empty)
    growth: pd.DataFrame = field(default_factory=_empty)
    quality: pd.DataFrame = field(default_factory=_empty)
    cost: pd.DataFrame = field(default_factory=_empty)
    totals: pd.DataFrame = field(default_factory=_empty)
    arrays: Mapping[str, np.ndarray] = field(default_factory=lambda: MappingProxyType({}))
    operand_codes: Mapping[str, np.ndarray] = field(default_factory=lambda: MappingProxyType({}))
    images: Mapping[str, np.ndarray] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def settings(self) -> Mapping[str, Any]:
        """Return what decided the run: model, recipe, steps, images, guidance, seed, parts."""
        settings: Mapping[str, Any] = self.manifest["settings"]
        return settings


def write_run(folder: str | Path, run: Run) -> Path:
    """Write ``run`` into a new or empty folder, its manifest last. Returns the folder."""
    with new_folder(Path(folder)) as temporary:
        for name in TABLES:
            table = getattr(run, name)
            if not table.empty:
                text = table.to_csv(index=False, lineterminator="\n", float_format="%.9g")
                write_text_atomic(temporary / f"{name}.csv", text)
        for attribute, name in TENSORS.items():
            tensors = getattr(run, attribute)
            if tensors:
                write_tensors(temporary / f"{name}.safetensors", tensors, {"kind": KIND})
        write_manifest(
            temporary,
            kind=KIND,
            format_version=FORMAT_VERSION,
            settings=run.manifest["settings"],
            inputs=run.manifest["inputs"],
        )
    return Path(folder)


def read_run(folder: str | Path) -> Run:
    """Read a run folder after checking every file against its manifest.

    Raises
    ------
    InputError
        Missing, damaged or changed files, another kind of folder, or another format version.
    """
    folder = Path(folder)
    manifest = verify_manifest(folder, KIND).model_dump()
    if manifest["format_version"] != FORMAT_VERSION:
        raise InputError(
            f"{folder}: format_version: got {manifest['format_version']}, this hqsim reads {FORMAT_VERSION}; "
            "trace the model again"
        )
    parts: dict[str, Any] = {
        name: _read_table(folder / f"{name}.csv") for name in TABLES if (folder / f"{name}.csv").is_file()
    }
    for attribute, name in TENSORS.items():
        path = folder / f"{name}.safetensors"
        if path.is_file():
            parts[attribute], _ = read_tensors(path)
    name = str(manifest["settings"].get("recipe") or folder.resolve().name)
    return Run(name=name, manifest=manifest, **parts)


def is_run_folder(folder: str | Path) -> bool:
    """Whether ``folder`` is a run folder (its manifest says so)."""
    from hqsim.io.manifest import MANIFEST_NAME, Manifest

    path = Path(folder) / MANIFEST_NAME
    try:
        return path.is_file() and Manifest.model_validate_json(path.read_bytes()).kind == KIND
    except ValueError:
        return False


def _read_table(path: Path) -> pd.DataFrame:
    """One table; an empty cell alone means not measured, so a layer may be called ``null``."""
    import pandas as pd

    try:
        return pd.read_csv(path, keep_default_na=False, na_values=[""])
    except ValueError as error:
        raise InputError(f"{path}: is no table: {error}; trace the model again") from error
