"""What the single Hadamard transform costs: none, single in its realisations, and double, by machine.

The realisations of one single transform give the same codes, so within a row of ``TRANSFORMS`` only cost
differs; between rows the image quality differs too, which is no matter of this table.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hqsim.cost import Workload, estimate_records, load_hardware
from hqsim.errors import UnsupportedError

if TYPE_CHECKING:
    import pandas as pd

    from hqsim.models import Model

WIDTHS = ("w4a4", "w4a3")


@dataclass(frozen=True)
class Transform:
    """One way to transform: a recipe without its widths, and how its layers are realised."""

    name: str
    recipe: str
    realisation: str


TRANSFORMS = (
    Transform("none", "ptq", "as_lowered"),
    Transform("width, run time", "hqdm", "runtime"),
    Transform("width, linear folded", "hqdm", "fold"),
    Transform("width, parity", "hqdm", "parity"),
    Transform("width, best", "hqdm", "best"),
    Transform("channel, run time", "hqdm-channel", "runtime"),
    Transform("channel, folded", "hqdm-channel", "fold"),
    Transform("channel, parity", "hqdm-channel", "parity"),
    Transform("channel, best", "hqdm-channel", "best"),
    Transform("double", "double", "as_lowered"),
)
"""Single along width with order 5 (linear layers along channels), single along channels with order 3, double
with order 5 in linear layers alone. Along width the inverse of a convolution cannot move into its weights:
"linear folded" leaves it at run time there. "Best" takes the fewest cycles layer by layer."""

FIGURES = ("latency_s", "energy_pj", "dram_bytes")
COUNTS = ("macs", "parity_macs")


def hadamard_costs(
    model: Model,
    machines: Sequence[str],
    *,
    widths: Sequence[str] = WIDTHS,
    steps: int = 20,
    batch: int = 1,
    guidance: float | None = None,
) -> pd.DataFrame:
    """Return the mean step of a sampling run, one row per (widths, machine, transform).

    Columns ``widths``, ``machine``, ``transform``, ``latency_s``, ``energy_pj``, ``dram_bytes``, their
    ratios to the row without a transform (``latency_ratio``, ...), ``macs`` of the model, ``parity_macs`` on
    top of them, and ``refused``: the reason where the machine cannot run it, all figures NaN.
    """
    import pandas as pd

    from hqsim.analysis.estimate import records_of

    rows = []
    for width in widths:
        lowered: dict[str, Workload] = {}
        for transform in TRANSFORMS:
            if transform.recipe not in lowered:
                recipe = f"{transform.recipe}-{width}"
                records = records_of(model, recipe=recipe, batch=batch, guidance=guidance, steps=steps)
                lowered[transform.recipe] = Workload(tuple(records))
        for machine in machines:
            for transform in TRANSFORMS:
                figures = _mean_step(lowered[transform.recipe], machine, transform.realisation, steps=steps)
                rows.append({"widths": width, "machine": machine, "transform": transform.name, **figures})
    return _with_ratios(pd.DataFrame(rows))


def _mean_step(work: Workload, machine: str, realisation: str, *, steps: int) -> dict[str, float | str]:
    try:
        estimate = estimate_records(work, load_hardware(machine), steps=steps, realisation=realisation)
    except UnsupportedError as error:
        return {**dict.fromkeys((*FIGURES, *COUNTS), float("nan")), "refused": str(error).splitlines()[0]}
    run = estimate.total["run"]
    return {
        "latency_s": run["latency_s"] / steps,
        "energy_pj": run["energy_pj"]["total"] / steps,
        "dram_bytes": run["dram_bytes"] / steps,
        **{count: run[count] / steps for count in COUNTS},
        "refused": "",
    }


def _with_ratios(table: pd.DataFrame) -> pd.DataFrame:
    """Add the ratios of every figure to that of no transform, at the same widths on the same machine."""
    plain = table[table["transform"] == TRANSFORMS[0].name].set_index(["widths", "machine"])
    keys = list(zip(table["widths"], table["machine"], strict=True))
    for figure in FIGURES:
        name = figure.rpartition("_")[0]
        table[f"{name}_ratio"] = table[figure] / plain.loc[keys, figure].to_numpy()
    return table
