"""The layer table: what every matrix layer multiplies, in which widths, and what its sums can reach."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from hqsim.graph import Node
from hqsim.ops.quantize import transform_of
from hqsim.ops.realisation import is_double, realisation_of

if TYPE_CHECKING:
    import pandas as pd

    from hqsim.quantize import QuantizedModel

OBSERVED = ("observed_bits", "accumulator_lowest", "accumulator_highest")


def layer_table(qmodel: QuantizedModel, accumulators: pd.DataFrame | None = None) -> pd.DataFrame:
    """Return one row per matrix layer, in execution order.

    Parameters
    ----------
    qmodel
        The quantized model; its float weights are not read.
    accumulators
        Observed sums, one row per layer and step with columns ``layer``, ``lowest`` and ``highest``; without
        them the observed columns are missing values.

    Returns
    -------
    DataFrame
        ``layer``, ``op``, ``path`` (of the torch module), ``macs`` (one sample), ``weight_count``,
        ``weight_bits``, ``group_size``, ``storage_bits`` and ``multiplier_bits`` of the operand,
        ``symmetric``, ``transform`` (such as ``single channel k3 signs``), ``realisation``,
        ``scale_entries`` (of the timestep table), ``accumulator_bits`` (proved), ``observed_bits``,
        ``accumulator_lowest``, ``accumulator_highest``.
    """
    import pandas as pd

    from hqsim.ops.records import macs_by_layer
    from hqsim.simulate.verify import layer_widths, matrix_layers

    macs = macs_by_layer(qmodel.graph)
    rows = []
    for node in matrix_layers(qmodel):
        widths = layer_widths(qmodel, node)
        weight = qmodel.weights.get(node.parameters.get("weight", ""))
        rows.append(
            {
                "layer": node.name,
                "op": node.op,
                "path": node.module,
                "macs": macs[node.name],
                "weight_count": math.prod(weight.shape) if weight else 0,
                "weight_bits": widths["weight_bits"],
                "group_size": node.attributes.get("group_size"),
                "storage_bits": widths["storage_bits"],
                "multiplier_bits": widths["multiplier_bits"],
                "symmetric": bool(qmodel.graph[node.inputs[0]].attributes["symmetric"]),
                "transform": transform_text(node),
                "realisation": realisation_of(node) or "none",
                "scale_entries": max(len(qmodel.formats[name].scales) for name in node.inputs),
                "accumulator_bits": widths["accumulator_bits"],
                **_observed(node.name, accumulators),
            }
        )
    return pd.DataFrame(rows).astype(dict.fromkeys(("group_size", *OBSERVED), "Int64"))


def transform_text(node: Node) -> str:
    """Return a layer's transform in words: ``none``, ``single width k5``, ``double channel k3 signs``."""
    transform = transform_of(node)
    if transform is None:
        return "none"
    kind = "double" if is_double(node) else "single"
    return f"{kind} {transform.axis} k{transform.order}{' signs' * transform.signs}"


def _observed(layer: str, accumulators: pd.DataFrame | None) -> dict[str, Any]:
    """The range of a layer's sums over all observed steps, and the width that it needs."""
    from hqsim.simulate.lockstep import observed_bits

    if accumulators is None or accumulators.empty:
        return dict.fromkeys(OBSERVED)
    seen = accumulators[accumulators["layer"] == layer]
    if seen.empty:
        return dict.fromkeys(OBSERVED)
    lowest, highest = int(seen["lowest"].min()), int(seen["highest"].max())
    return dict(zip(OBSERVED, (observed_bits((lowest, highest)), lowest, highest), strict=True))
