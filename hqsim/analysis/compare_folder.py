"""The folder that a comparison works in: a killed one goes on where it was, with the same settings only."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hqsim.analysis.run_folder import Run, read_run, write_run
from hqsim.errors import InputError
from hqsim.io import write_text_atomic

if TYPE_CHECKING:
    from hqsim.quantize import QuantizedModel

SETTINGS = "compare.json"


@dataclass(frozen=True)
class CompareFolder:
    """``compare.json`` says what all runs have in common; ``models/NAME`` and ``runs/NAME`` appear whole."""

    path: Path

    @classmethod
    def open(cls, path: Path, settings: Mapping[str, Any]) -> CompareFolder:
        """Make the folder, or continue one that was made with the same settings.

        Raises
        ------
        InputError
            When it holds something else, or was made with other settings.
        """
        record = path / SETTINGS
        text = json.dumps(settings, indent=1, sort_keys=True) + "\n"
        if record.is_file():
            found = json.loads(record.read_text(encoding="utf-8"))
            changed = [
                name for name in sorted(found.keys() | settings) if found.get(name) != settings.get(name)
            ]
            if changed:
                parts = (f"{name}: {found.get(name)}, now {settings.get(name)}" for name in changed)
                raise InputError(
                    f"{path}: holds a comparison with other settings ({'; '.join(parts)}); name a new folder"
                )
            return cls(path)
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise InputError(f"{path}: is no comparison and not empty; name a new or an empty folder")
        path.mkdir(parents=True, exist_ok=True)
        write_text_atomic(record, text)
        return cls(path)

    def model(self, name: str) -> QuantizedModel | None:
        """Return the quantized model of a recipe, None when it is not there yet."""
        from hqsim.quantize import load_quantized

        folder = self.path / "models" / name
        return load_quantized(folder) if folder.exists() else None

    def keep_model(self, name: str, qmodel: QuantizedModel) -> None:
        """Write the quantized model of a recipe."""
        qmodel.save(self.path / "models" / name)

    def model_bytes(self, name: str) -> int:
        """Return the size of a model's packed codes and tables."""
        return (self.path / "models" / name / "model.safetensors").stat().st_size

    def has_run(self, name: str) -> bool:
        """Whether the run of a recipe is complete."""
        return (self.path / "runs" / name).exists()

    def run(self, name: str) -> Run:
        """Return a complete run, as its files hold it."""
        return read_run(self.path / "runs" / name)

    def keep_run(self, name: str, run: Run) -> None:
        """Write the run of a recipe."""
        write_run(self.path / "runs" / name, run)
