"""Integer against exact: both executors walk side by side, every node of every step is compared.

Each executor goes on with its own codes, so what the first diverging node caused is counted too, and the
first one is named.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hqsim.graph.walk import Visit
from hqsim.numerics import signed_bits
from hqsim.quantize import QuantizedModel
from hqsim.simulate.executors import CodeExecutor, StepContext
from hqsim.simulate.metrics import Difference
from hqsim.simulate.sampler import Progress, SamplingSettings, finish_step, start_run, step_contexts


@dataclass(frozen=True)
class Divergence:
    """The first code that differs."""

    node: str
    op: str
    step: int
    timestep: int
    index: tuple[int, ...]
    expected: int
    got: int

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {**vars(self), "index": list(self.index)}


@dataclass
class LockstepResult:
    """What the comparison of all nodes and steps found."""

    nodes: dict[str, Difference] = field(default_factory=dict)
    first: Divergence | None = None
    accumulators: dict[str, tuple[int, int]] = field(default_factory=dict)
    saturated: dict[str, int] = field(default_factory=dict)
    saturation_differences: int = 0
    overflowed: dict[str, int] = field(default_factory=dict)
    overflow_differences: int = 0
    images: np.ndarray | None = None
    latents: np.ndarray | None = None

    @property
    def compared(self) -> int:
        """Codes compared."""
        return sum(difference.compared for difference in self.nodes.values())

    @property
    def mismatches(self) -> int:
        """Codes that differ."""
        return sum(difference.mismatches for difference in self.nodes.values())

    def compare(
        self, name: str, op: str, exact: np.ndarray, codes: np.ndarray, step: int, timestep: int
    ) -> None:
        """Compare one result and remember the first difference of all."""
        self.nodes.setdefault(name, Difference()).add_codes(exact, codes)
        if self.first is None and not np.array_equal(exact, codes):
            index = tuple(int(axis) for axis in np.argwhere(exact != codes)[0])
            self.first = Divergence(name, op, step, timestep, index, int(exact[index]), int(codes[index]))


def compare_exact(qmodel: QuantizedModel, settings: SamplingSettings, progress: Progress) -> LockstepResult:
    """Run integer and exact executors from the same noise and compare every node of every step."""
    integer, exact = CodeExecutor(qmodel, form="integer"), CodeExecutor(qmodel, form="exact")
    result = LockstepResult()
    x, y = (start_run(qmodel, executor, settings) for executor in (integer, exact))
    for step, context in enumerate(step_contexts(qmodel, settings)):
        progress("verify against exact", step, settings.steps)
        visits = zip(integer.predict(x, context), exact.predict(y, context), strict=True)
        noise, other = _compare_step(result, visits, step, context)
        x = finish_step(integer, x, noise, settings, step)
        y = finish_step(exact, y, other, settings, step)
        result.compare("sampler.step", "ddim_step", y, x, step, context.timestep)
    progress("verify against exact", settings.steps, settings.steps)
    result.images = integer.image(x)
    result.compare("image", "image", exact.image(y), result.images, settings.steps, 0)
    result.latents = integer.latent(x)
    result.accumulators = integer.accumulators
    result.saturated, result.overflowed = integer.saturated, integer.overflowed
    result.saturation_differences = _differences(integer.saturated, exact.saturated)
    result.overflow_differences = _differences(integer.overflowed, exact.overflowed)
    return result


def _differences(ours: dict[str, int], theirs: dict[str, int]) -> int:
    """Nodes whose counts differ (a node without a count has none)."""
    return sum(ours.get(name, 0) != theirs.get(name, 0) for name in ours.keys() | theirs.keys())


def _compare_step(
    result: LockstepResult, visits: Any, step: int, context: StepContext
) -> tuple[np.ndarray, np.ndarray]:
    ours: Visit[np.ndarray]
    theirs: Visit[np.ndarray]
    for ours, theirs in visits:
        result.compare(ours.node.name, ours.node.op, theirs.value, ours.value, step, context.timestep)
    return ours.value, theirs.value


def observed_bits(observed: tuple[int, int]) -> int:
    """Return the width that the observed range of an accumulator needs."""
    return signed_bits(*observed)
