"""What the teacher predicted, kept for other trainings: a file per trajectory.

A teacher's trajectory follows from its settings alone, so students of other recipes meet the same one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hqsim.io import read_tensors, write_tensors


class Predictions:
    """The guided noise of whole trajectories, in a folder of its own for these ``settings``.

    Parameters
    ----------
    folder
        Shared by any number of settings, and by trainings that run at the same time.
    settings
        Everything that a prediction follows from, other than the number of its trajectory.
    steps
        Steps of a trajectory.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any], steps: int) -> None:
        self.settings = json.dumps({**settings, "torch": torch.__version__}, sort_keys=True)
        self.folder = folder / hashlib.sha256(self.settings.encode()).hexdigest()[:16]
        self.steps = steps
        self.noted: list[Tensor] = []

    def read(self, trajectory: int) -> tuple[Tensor, ...]:
        """Return the prediction at every step, nothing where the trajectory is not kept."""
        path = self._path(trajectory)
        return torch.from_numpy(read_tensors(path)[0]["noise"]).unbind() if path.exists() else ()

    def note(self, trajectory: int, step: int, noise: Tensor) -> None:
        """Take one prediction; a trajectory that was noted from its first step to its last is written."""
        if step == 0:
            self.noted = []
        self.noted.append(noise.cpu())
        if step == self.steps - 1 and len(self.noted) == self.steps:
            self.folder.mkdir(parents=True, exist_ok=True)
            noted = torch.stack(self.noted).numpy()
            write_tensors(self._path(trajectory), {"noise": noted}, {"settings": self.settings})

    def _path(self, trajectory: int) -> Path:
        return self.folder / f"{trajectory:06d}.safetensors"
