"""Errors of every matrix layer at every step: of the integers against fake-quant, of both against float."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

    from hqsim.quantize import QuantizedModel
    from hqsim.simulate.sampler import Progress, SamplingSettings

ALONE, NETWORK = "alone", "network"
"""The modes against the float model: a layer alone is quantized; all layers before it are, too."""


def errors(qmodel: QuantizedModel, settings: SamplingSettings, progress: Progress) -> pd.DataFrame:
    """Return one row per layer, step and mode.

    Two modes compare the integer model with fake-quant, which tells wrong integers from rough ones:
    ``teacher-forced`` (the layer gets fake-quant's own input) and ``free-running`` (both runs go their own
    way from the same noise). Two compare with the float model, which tells what quantization itself costs:
    ``alone`` (only this layer's operands and weights are quantized) and ``network`` (the integer model's
    result; its sample is the float model's at every step, so errors do not pass from step to step).

    Returns
    -------
    DataFrame
        ``layer``, ``step``, ``timestep``, ``mode``, ``sqnr_db`` of the layer's result, ``mismatch_percent``
        and ``max_lsb`` of its operand codes (missing against the float model, which has none).
    """
    import pandas as pd

    from hqsim.simulate.fakequant import compare_fakequant
    from hqsim.simulate.verify import VerifyResult

    found = compare_fakequant(qmodel, settings, progress, layers_only=True)
    against_fakequant = VerifyResult(qmodel, settings, exact=None, fakequant=found).step_layers
    return pd.concat(
        [against_fakequant, _against_float(qmodel, settings, progress)], ignore_index=True
    ).astype({"max_lsb": "Int64"})


def _against_float(qmodel: QuantizedModel, settings: SamplingSettings, progress: Progress) -> pd.DataFrame:
    from hqsim.analysis.layer_sqnr import layer_sqnr

    measured = layer_sqnr(
        qmodel,
        labels=settings.labels,
        steps=settings.steps,
        guidance=settings.guidance,
        seed=settings.seed,
        progress=progress,
    )
    tidy = measured.melt(
        id_vars=["layer", "step", "timestep"],
        value_vars=[f"{ALONE}_sqnr_db", f"{NETWORK}_sqnr_db"],
        var_name="mode",
        value_name="sqnr_db",
    )
    tidy["mode"] = tidy["mode"].str.removesuffix("_sqnr_db")
    return tidy
