"""One executor's trajectory with all images side by side, node by node: what statistics of steps read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hqsim.errors import InputError
from hqsim.graph.walk import Visit

if TYPE_CHECKING:
    from hqsim.quantize import QuantizedModel
    from hqsim.simulate.executors import CodeExecutor, TorchExecutor
    from hqsim.simulate.sampler import Progress, SamplingSettings


@dataclass(frozen=True)
class Moment:
    """When a node was visited: the step, its timestep and table entry, which part of the batch."""

    step: int
    timestep: int
    entry: int
    part: int
    parts: int

    @property
    def ends_step(self) -> bool:
        """Whether no other part of the batch follows at this step."""
        return self.part == self.parts - 1

    @property
    def columns(self) -> dict[str, int]:
        """Return the step's columns of a table."""
        return {"step": self.step, "timestep": self.timestep}


def follow(
    qmodel: QuantizedModel,
    executor: CodeExecutor | TorchExecutor,
    settings: SamplingSettings,
    label: str,
    progress: Progress,
) -> Iterator[tuple[Moment, Visit[Any]]]:
    """Yield every visit of a run, all parts of the batch at one step before the next step."""
    from hqsim.simulate.sampler import finish_step, start_run, step_contexts

    parts = settings.chunks()
    total = settings.steps * len(parts)
    samples = [start_run(qmodel, executor, part) for part in parts]
    for step, contexts in enumerate(zip(*(step_contexts(qmodel, part) for part in parts), strict=True)):
        for index, (part, context) in enumerate(zip(parts, contexts, strict=True)):
            progress(label, step * len(parts) + index, total)
            moment = Moment(step, context.timestep, context.entry, index, len(parts))
            noise: Any = None
            for visit in executor.predict(samples[index], context):
                noise = visit.value
                yield moment, visit
            samples[index] = finish_step(executor, samples[index], noise, part, step)
    progress(label, total, total)


def follow_float(
    qmodel: QuantizedModel, label: str, *, images: int, **run: Any
) -> Iterator[tuple[Moment, Visit[Any]]]:
    """Yield every visit of the float model's run on the lowered graph, the batch in one part.

    ``run`` holds ``steps``, ``seed`` and ``guidance``.

    Raises
    ------
    InputError
        For more images than a part holds, or a run that the model does not have.
    """
    from hqsim.quantize.calibrate import one_thread
    from hqsim.simulate.executors import TorchExecutor
    from hqsim.simulate.sampler import CHUNK, resolve_settings

    if not 1 <= images <= CHUNK:
        raise InputError(f"images: got {images}, allowed 1 to {CHUNK}")
    settings = resolve_settings(qmodel, labels=None, images=images, **run)
    with one_thread():
        yield from follow(qmodel, TorchExecutor(qmodel, fake=False), settings, label, lambda *_: None)
