"""The error of the predicted noise by step, and what the losses of a distillation count of it.

The float model runs its trajectory, and at each step the integer model gets the float model's sample. The
loss of the noise takes all steps alike; in the next sample a step has the noise times ``DdimStep.direct[1]``
(Song et al., DDIM, equation 12, clipping aside).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from hqsim.graph.walk import result_of

if TYPE_CHECKING:
    import pandas as pd

    from hqsim.quantize import QuantizedModel
    from hqsim.simulate.sampler import SamplingSettings


def step_errors(
    qmodel: QuantizedModel, *, images: int = 20, steps: int = 20, seed: int = 0, guidance: float | None = None
) -> pd.DataFrame:
    """Return a row per step of the float model's run.

    Parameters
    ----------
    qmodel
        The quantized model; its float model is loaded too.
    images, steps, seed, guidance
        The run, as in ``hqsim.simulate``.

    Returns
    -------
    DataFrame
        ``timestep``; ``noise_sqnr_db``, of the guided noise against the float model's; ``factor`` of the
        noise in the next sample; ``noise_loss_percent`` and ``sample_loss_percent``, the step's share of the
        error of the noise, and of that of the next sample.

    Raises
    ------
    InputError
        For a run that the model does not have.
    """
    import pandas as pd

    from hqsim.quantize.calibrate import one_thread
    from hqsim.simulate.sampler import resolve_settings

    settings = resolve_settings(qmodel, labels=None, images=images, steps=steps, seed=seed, guidance=guidance)
    errors, powers = np.zeros(steps), np.zeros(steps)
    with one_thread():
        for part in settings.chunks():
            for step, (real, found) in enumerate(_noises(qmodel, part)):
                errors[step] += np.square(real - found).sum()
                powers[step] += np.square(real).sum()
    schedule = qmodel.model.schedule
    factors = np.array([step.direct[1] for step in schedule.steps(steps)])
    in_sample = errors * factors**2
    with np.errstate(divide="ignore"):
        sqnr_db = 10 * np.log10(powers / errors)
    return pd.DataFrame(
        {
            "timestep": schedule.timesteps(steps),
            "noise_sqnr_db": sqnr_db,
            "factor": factors,
            "noise_loss_percent": 100 * errors / errors.sum(),
            "sample_loss_percent": 100 * in_sample / in_sample.sum(),
        }
    )


def shipped_step_errors(model: str, recipe: str, **run: Any) -> pd.DataFrame:
    """Return :func:`step_errors` of a trained model that ships with hqsim.

    Raises
    ------
    InputError
        When none ships by these names.
    """
    from hqsim.errors import unknown_name
    from hqsim.quantize import load_quantized, load_recipe
    from hqsim.quantize.shipped import shipped, shipped_recipes

    folder = shipped(model, load_recipe(recipe))
    if folder is None:
        raise unknown_name(f"trained model of '{model}'", recipe, shipped_recipes(model))
    return step_errors(load_quantized(folder), **run)


def _noises(qmodel: QuantizedModel, settings: SamplingSettings) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The float model's guided noise and the integer model's, float64, at every step."""
    from hqsim.simulate.executors import CodeExecutor, TorchExecutor
    from hqsim.simulate.sampler import start_run, step_contexts

    real, integer = TorchExecutor(qmodel, fake=False), CodeExecutor(qmodel, form="integer")
    x, _ = start_run(qmodel, real, settings), start_run(qmodel, integer, settings)
    sample, output = qmodel.formats["sample"], qmodel.formats[qmodel.graph.output]
    for index, context in enumerate(step_contexts(qmodel, settings)):
        noise = result_of(real.predict(x, context))
        codes = result_of(integer.predict(sample.encode(real.latent(x)), context))
        if context.doubled:
            noise, codes = real.guide(noise), integer.guide(codes)
        yield noise.double().numpy(), codes * output.scale
        x = real.advance(x, noise, index)
