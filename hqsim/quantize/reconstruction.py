"""The section ``training`` of a recipe with ``kind: tfmq``: the hyper-parameters of TFMQ-DM."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0.0, lt=1.0)]


class Reconstruction(BaseModel):
    """Reconstruction as in TFMQ-DM (Huang et al., 2024): first the temporal information block, then the rest.

    ``updates`` counts the updates of *each* block, ``batch`` the rows of one. After the share ``warm_up`` of
    them the rounding is pushed to 0 or 1, with weight ``regulariser`` and an exponent that falls from
    ``beta_start`` to ``beta_end``. Operands are calibrated per timestep: an error search on the first of
    ``calibration_batches`` batches of trajectories, then running ends of the range with ``momentum``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    kind: Literal["tfmq"]
    updates: Count = 20_000
    batch: Count = 32
    rate: Annotated[float, Field(gt=0.0, le=1.0)] = 1e-3
    regulariser: Annotated[float, Field(ge=0.0)] = 0.01
    beta_start: Annotated[float, Field(ge=1.0)] = 20.0
    beta_end: Annotated[float, Field(ge=1.0)] = 2.0
    warm_up: Share = 0.2
    calibration_batches: Count = 8
    momentum: Share = 0.95
    checkpoint_every: Count = 500
