"""How the error of a sample grows along its trajectory, and what every step adds to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hqsim.simulate.metrics import Difference
from hqsim.simulate.sampler import finish_step, start_run, step_contexts

if TYPE_CHECKING:
    import pandas as pd

    from hqsim.quantize import QuantizedModel
    from hqsim.simulate.executors import CodeExecutor, StepContext, TorchExecutor
    from hqsim.simulate.sampler import Progress, SamplingSettings


def growth(qmodel: QuantizedModel, settings: SamplingSettings, progress: Progress) -> pd.DataFrame:
    """Return one row per step: the integer model beside the float model, from the same noise.

    Returns
    -------
    DataFrame
        ``step``, ``timestep``; ``sample_sqnr_db`` of the sample after the step, both models running free;
        ``noise_sqnr_db`` of the noise (guidance included) that the integer model predicts for the float
        model's sample; ``gained_percent``, the part of the final error that came with this step: the
        increase of ``‖x - x̂‖² / ‖x‖²`` in percent of its last value. It sums to 100, and is negative where
        a step takes error away; missing where the final samples are equal.
    """
    import pandas as pd

    from hqsim.simulate.executors import CodeExecutor, TorchExecutor

    samples = [Difference() for _ in range(settings.steps)]
    noises = [Difference() for _ in range(settings.steps)]
    real, integer = TorchExecutor(qmodel, fake=False), CodeExecutor(qmodel, form="integer")
    sample, noise = (qmodel.formats[name] for name in ("sample", qmodel.graph.output))
    for part in settings.chunks():
        x, codes = start_run(qmodel, real, part), start_run(qmodel, integer, part)
        for step, context in enumerate(step_contexts(qmodel, part)):
            progress("growth of the error", step, settings.steps)
            forced = _predict(integer, sample.encode(real.latent(x)), context)
            free, wanted = _predict(integer, codes, context), _predict(real, x, context)
            noises[step].add_values(
                _guided(real, wanted, part).double().numpy(), noise.decode(_guided(integer, forced, part))
            )
            x = finish_step(real, x, wanted, part, step)
            codes = finish_step(integer, codes, free, part, step)
            samples[step].add_values(real.latent(x), integer.latent(codes))
    progress("growth of the error", settings.steps, settings.steps)
    return pd.DataFrame(
        {
            "step": range(settings.steps),
            "timestep": qmodel.model.schedule.timesteps(settings.steps),
            "sample_sqnr_db": [cell.sqnr_db for cell in samples],
            "noise_sqnr_db": [cell.sqnr_db for cell in noises],
            "gained_percent": gained_percent([cell.error / cell.signal for cell in samples]),
        }
    )


def gained_percent(relative_errors: list[float]) -> np.ndarray:
    """Return the increase of ``‖x - x̂‖² / ‖x‖²`` at every step in percent of its last value."""
    if relative_errors[-1] == 0.0:
        return np.full(len(relative_errors), np.nan)
    return 100.0 * np.diff(relative_errors, prepend=0.0) / relative_errors[-1]


def _predict(executor: CodeExecutor | TorchExecutor, x: Any, context: StepContext) -> Any:
    """The last result of one walk."""
    value: Any = None
    for visit in executor.predict(x, context):
        value = visit.value
    return value


def _guided(executor: CodeExecutor | TorchExecutor, noise: Any, settings: SamplingSettings) -> Any:
    return executor.guide(noise) if settings.guidance != 1.0 else noise
