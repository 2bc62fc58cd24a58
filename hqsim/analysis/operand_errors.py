"""How well the codes of two recipes keep the operands of a float model, by what the operands come from.

Values behind an activation function are skewed, which asymmetric codes suit; sums of a residual stream reach
to both sides, which a transform with symmetric codes suits.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from hqsim.analysis.trajectory import follow_float
from hqsim.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from hqsim.graph import Graph
    from hqsim.models import Model

PLACE = ["layer", "step"]
"""What tells a case of one recipe from the others."""


def operand_errors(
    model: Model | str,
    recipes: tuple[str, str],
    *,
    images: int = 10,
    steps: int = 20,
    seed: int = 0,
    guidance: float | None = None,
) -> pd.DataFrame:
    """Return how near the calibrated codes of both recipes are to the operands of the float model's own run.

    The operand of a convolution or linear layer at one step is a case; layers that a rule of either recipe
    gives another width are left out.

    Parameters
    ----------
    model
        A float model, or its name.
    recipes
        Names of two recipes; calibrated, not trained.
    images, steps, seed, guidance
        Of the run, at most 16 images; guidance is the model's own when None.

    Returns
    -------
    DataFrame
        A row per ``source``, the operator that the operands come from (reshapes looked through), the most
        layers first: ``layers``; the median ``sqnr_db`` under each recipe, in columns of their names;
        ``difference_db``, the median of the second less the first; ``better_percent``, the cases where that
        is positive.

    Raises
    ------
    InputError
        For a run or a recipe that does not exist, or recipes of different widths of operands.
    """
    import pandas as pd

    first, second = recipes
    run: dict[str, Any] = {"steps": steps, "seed": seed, "guidance": guidance}
    one, other = (pd.DataFrame(_cases(model, recipe, images=images, **run)) for recipe in recipes)
    cases = one.merge(other, on=[*PLACE, "bits", "source"], suffixes=("_first", "_second"))
    if cases.empty:
        raise InputError(
            f"'{first}' and '{second}' have operands of different widths; take recipes of one width"
        )
    cases["difference_db"] = cases["sqnr_db_second"] - cases["sqnr_db_first"]
    by_source = cases.groupby("source")
    names = {"sqnr_db_first": first, "sqnr_db_second": second}
    medians = by_source[[*names, "difference_db"]].median().rename(columns=names)
    better = by_source["difference_db"].agg(lambda gains: 100.0 * (gains > 0).mean()).rename("better_percent")
    layers = by_source["layer"].nunique().rename("layers")
    table = pd.concat([layers, medians, better], axis=1).reset_index()
    return table.sort_values(["layers", "source"], ascending=[False, True], ignore_index=True)


def _cases(model: Model | str, recipe: str, *, images: int, **run: Any) -> Iterator[dict[str, Any]]:
    """Every operand of a layer with weights at every step, and how near its codes are."""
    import numpy as np

    from hqsim.ops import OPERATORS
    from hqsim.ops.quantize import Quantize
    from hqsim.quantize import load_recipe, quantize

    qmodel = quantize(model, recipe, steps=run["steps"], seed=run["seed"])
    graph, bits = qmodel.graph, load_recipe(recipe).activations.bits
    layers = {
        node.inputs[0]: node.name
        for node in graph
        if node.op in ("conv2d", "linear") and qmodel.formats[node.inputs[0]].bits == bits
    }
    for moment, visit in follow_float(qmodel, "operands", images=images, **run):
        node = visit.node
        if node.name not in layers:
            continue
        quantizer = OPERATORS[node.op]
        assert isinstance(quantizer, Quantize)
        kept = quantizer.fake(node, visit.value, qmodel.formats[node.name], moment.entry)[1]
        error = float((kept - visit.value).double().square().sum())
        power = float(visit.value.double().square().sum())
        yield {
            "layer": layers[node.name],
            "step": moment.step,
            "bits": bits,
            "source": _source(graph, node.inputs[0]),
            "sqnr_db": 10 * np.log10(power / error) if error else np.inf,
        }


def _source(graph: Graph, name: str) -> str:
    """The operator that a value comes from, through views of it."""
    from hqsim.ops import OPERATORS

    while OPERATORS[graph[name].op].is_view:
        name = graph[name].inputs[0]
    return str(graph[name].op)
