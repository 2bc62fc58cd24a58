"""What every trainer is given."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hqsim.models import Model
from hqsim.quantize.calibrate import CalibrationSettings, Progress
from hqsim.quantize.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class Run:
    """One training: settings of calibration and of the sampling; ``updates`` None for the recipe's.

    ``checkpoint`` and ``lessons`` are folders: of the state, and of what the teacher predicted.
    """

    model: Model
    recipe: Recipe
    settings: CalibrationSettings
    updates: int | None
    checkpoint: Path | None
    lessons: Path | None
    device: str
    progress: Progress

    @property
    def identity(self) -> dict[str, Any]:
        """What every state of this training has to agree with, its hyper-parameters aside."""
        return {
            "model": self.model.digest,
            "schedule": self.model.schedule.digest,
            "recipe": self.recipe.model_dump(mode="json", exclude={"training"}),
            "settings": asdict(self.settings),
        }
