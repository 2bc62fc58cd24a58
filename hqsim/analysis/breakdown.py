"""Where time and energy of estimates go: by machine, by kind of operator, by what binds, layer by layer."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

    from hqsim.cost import Estimate

KIND_OF_OPERATOR = MappingProxyType(
    {
        "conv2d": "convolution",
        "linear": "linear",
        "matmul": "attention product",
        "softmax": "softmax",
        "group_norm": "norm",
        "layer_norm": "norm",
        "silu": "activation",
        "gelu": "activation",
        "gelu_tanh": "activation",
        "quantize": "quantize operands",
        "guidance": "sampler",
        "ddim_step": "sampler",
    }
)
OTHER = "element-wise, copies"
"""The kind of every operator not in ``KIND_OF_OPERATOR``: sums, gates, rescales, concats, look-ups."""

SUMMED = ("macs", "latency_s", "energy_pj", "dram_bytes")


def kind_of(operator: str) -> str:
    """Return the kind of a record's operator."""
    return KIND_OF_OPERATOR.get(operator, OTHER)


def machine_totals(estimates: Mapping[str, Estimate], *, images: int) -> pd.DataFrame:
    """Return one row per machine: a mean step, one of ``images`` images, and its energy by part.

    The energies of the whole run are in columns ``energy_pj.<part>``; what binds is that of the first step.
    """
    import pandas as pd

    rows = []
    for name, estimate in estimates.items():
        total, run = estimate.total, estimate.total["run"]
        parts = {part: energy for part, energy in run["energy_pj"].items() if part != "total"}
        rows.append(
            {
                "machine": name,
                "latency_per_step_s": run["latency_s"] / run["steps"],
                "latency_per_image_s": run["latency_s"] / images,
                "energy_per_image_pj": run["energy_pj"]["total"] / images,
                "dram_per_step_bytes": run["dram_bytes"] / run["steps"],
                "dram_per_image_bytes": run["dram_bytes"] / images,
                "utilization_percent": 100 * run["utilization"],
                "bound_by": total["bound_by"],
                "bound_percent": bound_percent(estimate.layers)[total["bound_by"]],
                "assumed_energy_percent": 100 * total["assumed_energy_share"],
                **{f"energy_pj.{part}": energy for part, energy in parts.items()},
            }
        )
    return pd.DataFrame(rows)


def by_kind(layers: pd.DataFrame) -> pd.DataFrame:
    """Return the sums of an estimate's ``layers`` by kind of operator, the slowest kind first.

    Columns ``kind``, ``layers`` (their number), ``macs``, ``latency_s``, ``energy_pj``, ``dram_bytes``, and
    the percent of the whole step in ``latency_percent``, ``energy_percent`` and ``macs_percent``.
    """
    kinds = layers["op"].map(kind_of).rename("kind")
    groups = layers.groupby(kinds, sort=False)
    table = groups[list(SUMMED)].sum()
    table.insert(0, "layers", groups.size())
    for column in ("latency_s", "energy_pj", "macs"):
        whole = table[column].sum()
        table[f"{column.split('_')[0]}_percent"] = 100 * table[column] / (whole or 1)
    return table.sort_values("latency_s", ascending=False, kind="stable").reset_index()


def bound_percent(layers: pd.DataFrame) -> dict[str, float]:
    """Return the percent of the step's cycles in layers that each engine or memory binds, largest first."""
    cycles = (
        layers.groupby("bound_by", sort=False)["cycles"].sum().sort_values(ascending=False, kind="stable")
    )
    return {str(name): float(100 * share) for name, share in (cycles / (cycles.sum() or 1)).items()}


def slowest(layers: pd.DataFrame, count: int) -> pd.DataFrame:
    """Return the ``count`` layers that take longest, with their share of the step in ``latency_percent``."""
    shares = layers.assign(latency_percent=100 * layers["latency_s"] / (layers["latency_s"].sum() or 1))
    return shares.sort_values("latency_s", ascending=False, kind="stable").head(count)
