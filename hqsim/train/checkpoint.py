"""The state of a training run in one safetensors file, written atomically and resumed to the same bytes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hqsim.errors import InputError
from hqsim.io import read_tensors, write_tensors

FILE = "state.safetensors"


class Checkpoint:
    """A folder with the last state of one run.

    Parameters
    ----------
    folder
        Where the state lives; made when it is first written.
    settings
        Everything that decides the run: a state of other settings is refused.
    """

    def __init__(self, folder: str | Path, settings: Mapping[str, Any]) -> None:
        self.path = Path(folder) / FILE
        self.settings = json.dumps(settings, sort_keys=True)

    def save(
        self,
        update: int,
        network: nn.Module,
        optimizer: torch.optim.Optimizer,
        extra: Mapping[str, np.ndarray],
    ) -> None:
        """Write the state after ``update`` updates; ``extra`` are the run's other arrays."""
        tensors = {f"extra/{name}": array for name, array in extra.items()}
        tensors |= {f"network/{name}": _numpy(value) for name, value in network.state_dict().items()}
        for index, state in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer/{index}/{name}": _numpy(value) for name, value in state.items()}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_tensors(self.path, tensors, {"settings": self.settings, "update": str(update)})

    def load(self, network: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[int, dict[str, np.ndarray]]:
        """Fill network and optimizer; return the number of updates done and the other arrays (0: none yet).

        Raises
        ------
        InputError
            When the folder holds the state of another run, or a damaged one.
        """
        if not self.path.exists():
            return 0, {}
        tensors, metadata = read_tensors(self.path)
        self._check(metadata.get("settings", "{}"))
        parts: dict[str, dict[str, np.ndarray]] = {"extra": {}, "network": {}, "optimizer": {}}
        for name, array in tensors.items():
            kind, _, rest = name.partition("/")
            parts[kind][rest] = array
        network.load_state_dict({name: torch.from_numpy(array) for name, array in parts["network"].items()})
        state: dict[int, dict[str, Tensor]] = {}
        for name, array in parts["optimizer"].items():
            index, _, key = name.partition("/")
            state.setdefault(int(index), {})[key] = torch.from_numpy(array)
        optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
        return int(metadata["update"]), parts["extra"]

    def _check(self, found: str) -> None:
        ours, theirs = json.loads(self.settings), json.loads(found)
        for name in sorted(ours.keys() | theirs.keys()):
            if ours.get(name) != theirs.get(name):
                raise InputError(
                    f"{self.path}: {name}: the state is of a training with {theirs.get(name)!r}, this one "
                    f"has {ours.get(name)!r}; name another checkpoint folder, or remove this one"
                )


def _numpy(value: Tensor) -> np.ndarray:
    array: np.ndarray = value.detach().cpu().numpy()
    return array
