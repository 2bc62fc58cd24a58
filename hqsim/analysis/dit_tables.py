"""What the choices of DiT quantization give: one step of calibration or all, groups of weights or channels.

After Yang et al., "An Analysis on Quantizing Diffusion Transformers" (2024). Every row is measured with the
integer executor against the float model, from the same noise.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hqsim.analysis.layer_sqnr import layer_sqnr
from hqsim.analysis.metrics import psnr_db
from hqsim.models import Model, load_model
from hqsim.quantize import QuantizedModel, Recipe, load_recipe
from hqsim.simulate import simulate
from hqsim.simulate.metrics import sqnr_db

if TYPE_CHECKING:
    import pandas as pd

MODEL = "digits-dit"
WIDTHS = ("w8a8", "w4a8")
GROUPS = (None, 128, 64, 32)
SCALE_BITS = 16
"""Stored bits of a weight scale: a 15-bit multiplier and what it shares of a shift."""
CALIBRATIONS: Mapping[str, Mapping[str, Any]] = {
    "first step, one scale": {"per_timestep": False, "calibration": "first_step"},
    "all steps, one scale": {"per_timestep": False, "calibration": "all_steps"},
    "all steps, a scale per timestep": {"per_timestep": True, "calibration": "all_steps"},
}


def calibration_table(
    model: Model | str = MODEL, *, widths: Sequence[str] = WIDTHS, **settings: Any
) -> pd.DataFrame:
    """Return one-step beside all-step calibration of the activations, weights as in ``ditptq``.

    ``settings`` are those of :func:`measure`. Columns: ``calibration``, ``widths``, then its figures.
    """
    recipes = {
        (name, width): _with(load_recipe(f"ditptq-{width}"), "activations", change)
        for width in widths
        for name, change in CALIBRATIONS.items()
    }
    return _table(model, recipes, ("calibration", "widths"), settings)


def weight_table(
    model: Model | str = MODEL,
    *,
    widths: Sequence[str] = WIDTHS,
    groups: Sequence[int | None] = GROUPS,
    **settings: Any,
) -> pd.DataFrame:
    """Return a weight scale per output channel beside scales per group of input channels.

    All else is as in ``ditptq``; ``settings`` are those of :func:`measure`. Columns: ``weights``, ``widths``,
    then its figures. A layer of no more input channels than the group is the same as per channel.
    """
    recipes = {
        (f"groups of {size}" if size else "per channel", width): _with(
            load_recipe(f"ditptq-{width}"), "weights", {"group_size": size}
        )
        for width in widths
        for size in groups
    }
    return _table(model, recipes, ("weights", "widths"), settings)


def measure(qmodel: QuantizedModel, *, steps: int = 20, images: int = 16, seed: int = 0) -> dict[str, float]:
    """Return the figures of one quantized model against its float model, from the same noise.

    ``sqnr_db`` and ``psnr_db`` of the final images; ``first_`` and ``last_step_sqnr_db`` of the predicted
    noise when both get the float model's sample; ``bits_per_weight`` stored, scales included.
    """
    run: dict[str, Any] = {"steps": steps, "images": images, "seed": seed}
    reference, ours = (simulate(qmodel, executor=name, **run) for name in ("float", "integer"))
    layers = layer_sqnr(qmodel, **run)
    noise = layers[layers["layer"] == layers["layer"].iloc[-1]].set_index("step")["network_sqnr_db"]
    return {
        "sqnr_db": sqnr_db(reference.latents, ours.latents),
        "psnr_db": psnr_db(reference.codes, ours.codes),
        "first_step_sqnr_db": float(noise.loc[0]),
        "last_step_sqnr_db": float(noise.loc[steps - 1]),
        "bits_per_weight": bits_per_weight(qmodel),
    }


def bits_per_weight(qmodel: QuantizedModel) -> float:
    """Return the stored bits of all weights of products, scales included, over their number."""
    weights = qmodel.weights.values()
    stored = sum(8 * weight.packed.size + SCALE_BITS * weight.scales.size for weight in weights)
    return stored / sum(math.prod(weight.shape) for weight in weights)


def _with(recipe: Recipe, section: str, change: Mapping[str, Any]) -> Recipe:
    """The recipe with other choices in one section, checked like a file."""
    fields = recipe.model_dump()
    return Recipe.model_validate({**fields, section: {**fields[section], **change}})


def _table(
    model: Model | str,
    recipes: Mapping[tuple[str, str], Recipe],
    columns: tuple[str, str],
    settings: Mapping[str, Any],
) -> pd.DataFrame:
    import pandas as pd

    from hqsim.quantize import quantize

    model = load_model(model) if isinstance(model, str) else model
    steps = {"steps": settings["steps"]} if "steps" in settings else {}
    rows = []
    for key, recipe in recipes.items():
        qmodel = quantize(model, recipe, **steps)
        rows.append({**dict(zip(columns, key, strict=True)), **measure(qmodel, **settings)})
    return pd.DataFrame(rows)
