"""Whether a transform spreads the operands of convolutions, or gathers them in one coefficient of a block.

The first row of a Hadamard matrix is all ones: neighbours that are alike, as along the rows of a smooth
image, add up there, and a large coefficient per block is what a shared scale suffers from. Signs undo it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from hqsim.analysis.outliers import CANDIDATES, NONE, fitting, transformed
from hqsim.analysis.statistics import Statistics
from hqsim.analysis.trajectory import follow_float
from hqsim.numerics import Transform

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

    from hqsim.models import Model
    from hqsim.quantize import QuantizedModel

BITS = (4, 3)
PLACE = ["layer", "operand", "step"]
"""What tells a case of one transform from the others."""


def spreading(
    model: Model | str, *, images: int = 10, steps: int = 20, seed: int = 0, guidance: float | None = None
) -> pd.DataFrame:
    """Return what each of the candidate transforms makes of the convolutions' operands in the float model.

    A convolution's operand at one step of the run is a case; convolutions that some candidate does not fit
    are left out.

    Parameters
    ----------
    model
        A float model, or its name.
    images
        Images of the run, at most 16.
    steps, seed, guidance
        Of the run; guidance is the model's own when None.

    Returns
    -------
    DataFrame
        A row per ``transform``: ``convolutions``; medians over all cases of ``kurtosis``,
        ``first_coefficient_percent`` (its share of the energy; ``even_percent`` if all coefficients had the
        same), ``sqnr_4bit_db`` and ``sqnr_3bit_db`` (symmetric codes, optimal clip), ``gain_4bit_db`` and
        ``gain_3bit_db`` (the difference to no transform); ``better_percent``, the cases where the gain at 4
        bits is positive.

    Raises
    ------
    InputError
        For a run that the model does not have.
    """
    import pandas as pd

    cases = pd.DataFrame(_cases(model, images=images, steps=steps, seed=seed, guidance=guidance))
    plain = cases[cases["transform"] == NONE].set_index(PLACE)
    here = pd.MultiIndex.from_frame(cases[PLACE])
    for bits in BITS:
        reached = cases[f"sqnr_{bits}bit_db"]
        cases[f"gain_{bits}bit_db"] = reached - plain[reached.name].reindex(here).to_numpy()
    by_transform = cases.groupby("transform", sort=False)
    medians = by_transform[
        ["kurtosis", "first_coefficient_percent", "even_percent"]
        + [f"{what}_{bits}bit_db" for bits in BITS for what in ("sqnr", "gain")]
    ].median()
    better = by_transform["gain_4bit_db"].agg(lambda gains: 100.0 * (gains > 0).mean())
    convolutions = by_transform["layer"].nunique().rename("convolutions")
    return pd.concat([convolutions, medians, better.rename("better_percent")], axis=1).reset_index()


def _cases(model: Model | str, *, images: int, **run: Any) -> Iterator[dict[str, Any]]:
    """Every operand of a convolution at every step, under every transform."""
    from hqsim.quantize import quantize

    qmodel = quantize(model, "ptq-w8a8", steps=run["steps"], images=1, seed=run["seed"])
    operands = _operands(qmodel)
    for moment, visit in follow_float(qmodel, "spreading", images=images, **run):
        for place, channel_axis, name, transform in operands.get(visit.node.name, ()):
            values = transformed(visit.value, transform, channel_axis)
            yield {
                **place,
                "step": moment.step,
                "transform": name,
                **_seen(values, transform, channel_axis),
            }


def _operands(qmodel: QuantizedModel) -> dict[str, list[tuple[dict[str, Any], int, str, Transform | None]]]:
    """By quantizer its place, its channel axis, and the name of each transform with its own order."""
    from hqsim.simulate.verify import matrix_layers

    found = {}
    for layer in matrix_layers(qmodel):
        for index, name in enumerate(layer.inputs if layer.op == "conv2d" else ()):
            node = qmodel.graph[name]
            fits = fitting(CANDIDATES, layer, node.type.shape)
            if fits.keys() == CANDIDATES.keys():
                place, axis = {"layer": layer.name, "operand": index}, node.integer("channel_axis")
                found[name] = [(place, axis, other, fit) for other, fit in {NONE: None, **fits}.items()]
    return found


def _seen(values: Tensor, transform: Transform | None, channel_axis: int) -> dict[str, float]:
    """The figures of one operand, transformed already."""
    statistics = Statistics()
    statistics.add(values.numpy())
    return {
        "kurtosis": statistics.moments.kurtosis,
        "first_coefficient_percent": first_coefficient_percent(values, transform, channel_axis),
        "even_percent": 100.0 / (transform.size if transform else 1),
        **{f"sqnr_{bits}bit_db": db for bits, db in zip(BITS, statistics.sqnr_db(BITS), strict=True)},
    }


def first_coefficient_percent(values: Tensor, transform: Transform | None, channel_axis: int) -> float:
    """Return the share of the energy that the first coefficients of all blocks hold (torch ``values``)."""
    if transform is None:
        return 100.0
    axis = channel_axis if transform.axis == "channel" else values.ndim - 1
    blocks = values.double().movedim(axis, -1).unflatten(-1, (-1, transform.size))
    return 100.0 * float(blocks[..., 0].square().sum() / blocks.square().sum())
