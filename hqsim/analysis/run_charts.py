"""A run's tables as the page draws them: heatmaps, curves, timelines, layer table, drill-downs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from hqsim.analysis.breakdown import kind_of
from hqsim.analysis.roofline import roofline_of
from hqsim.cost import load_hardware
from hqsim.errors import InputError
from hqsim.report.details import Histogram, LayerDetail, Profile
from hqsim.report.grid import Grid, grid_of
from hqsim.report.lines import LineChart
from hqsim.report.roofline import RooflinePanel
from hqsim.report.timeline import Span, Timeline

if TYPE_CHECKING:
    import pandas as pd

    from hqsim.analysis.run_folder import Run

NONE, RECIPE = "none", "recipe"
ENGINES = ("matrix", "hadamard", "vector", "requantize", "sram", "dram")
COST_COLUMNS = (
    "latency_s",
    "energy_pj",
    "dram_bytes",
    "utilization_percent",
    "multiplier_passes",
    "realisation",
    "bound_by",
)
FIRST_COLUMNS = (
    "layer",
    "op",
    "share_percent",
    "gain_db",
    "sqnr_teacher_forced_db",
    "sqnr_free_running_db",
    "crest_before",
    "crest_after",
    "transform",
    "storage_bits",
    "multiplier_bits",
    "weight_bits",
    "accumulator_bits",
    "observed_bits",
)
STATISTICS = ("crest", "kurtosis", "top_energy_percent", "zero_percent", "clipped_percent")


def usual_bits(run: Run) -> int:
    """Return the measured code width (3, 4 or 8) that is nearest to how most layers store operands."""
    stored = run.layers["storage_bits"].mode()[0] if "storage_bits" in run.layers else 4
    return min((3, 4, 8), key=lambda bits: abs(bits - stored))


def operand_rows(frame: pd.DataFrame) -> pd.DataFrame:
    """Return ``frame`` with ``row``: the layer's name, and for a second operand its number after it."""
    second = frame["operand"].astype(int) > 0
    names = frame["layer"].astype(str)
    return frame.assign(row=names.where(~second, names + ", operand " + frame["operand"].astype(str)))


def grids(run: Run) -> tuple[Grid, ...]:
    """Return the heatmaps of what was measured by layer and step."""
    order = run.layers["layer"].astype(str).tolist() if not run.layers.empty else []
    found: list[Grid | None] = []
    if not run.errors.empty:
        for mode, part in run.errors.groupby("mode", sort=False):
            found.append(
                grid_of(
                    part, "sqnr_db", name=f"sqnr-{mode}", title=f"SQNR, {mode}", unit="dB", table="errors",
                    order=order,
                )
            )  # fmt: skip
    if not run.activations.empty:
        before, after = (
            operand_rows(run.activations[run.activations["transform"] == transform])
            for transform in (NONE, RECIPE)
        )
        bits = usual_bits(run)
        for frame, column, title, unit, better in (
            (before, "crest", "crest before the transform", "", False),
            (after, "crest", "crest after the transform", "", False),
            (after, f"sqnr_{bits}bit_db", f"SQNR of {bits}-bit codes at best", "dB", True),
            (after, "clipped_percent", "clipped values", "%", False),
        ):
            name = title.replace(" ", "-")
            found.append(
                grid_of(
                    frame, column, name=name, title=title, unit=unit, table="activations", order=order,
                    higher_is_better=better,
                )
            )  # fmt: skip
    if not run.codes.empty:
        rows = operand_rows(run.codes)
        for column, title in (("saturated_percent", "saturated codes"), ("zero_percent", "zero codes")):
            found.append(
                grid_of(
                    rows, column, name=title.replace(" ", "-"), title=title, unit="%", table="codes",
                    order=order, higher_is_better=False,
                )
            )  # fmt: skip
    return tuple(grid for grid in found if grid)


def curves(run: Run) -> tuple[LineChart, ...]:
    """Return the growth of the error along the trajectory, and what each step adds to it."""
    if run.growth.empty:
        return ()
    steps = run.growth["step"].to_numpy(dtype=np.float64)
    sqnr_db = LineChart(
        name="growth",
        title="SQNR against the float model",
        table="growth",
        x_label="step",
        y_label="SQNR [dB]",
        x=steps,
        lines={
            "sample, free-running": run.growth["sample_sqnr_db"].to_numpy(dtype=np.float64),
            "predicted noise, teacher-forced": run.growth["noise_sqnr_db"].to_numpy(dtype=np.float64),
        },
    )
    gained = LineChart(
        name="gained",
        title="What each step adds to the final error",
        table="growth",
        x_label="step",
        y_label="share [%]",
        x=steps,
        lines={"share of the final error": run.growth["gained_percent"].to_numpy(dtype=np.float64)},
    )
    return sqnr_db, gained


def timelines(run: Run) -> tuple[Timeline, ...]:
    """Return the first step on each machine."""
    return tuple(_timeline(str(machine), costs) for machine, costs in _by_machine(run))


def rooflines(run: Run) -> tuple[RooflinePanel, ...]:
    """Return a panel for each machine whose description is at hand."""
    panels = []
    for machine, costs in _by_machine(run):
        try:
            hardware = load_hardware(machine)
        except InputError:  # A machine's own file may be gone, or never have been on this computer.
            continue
        panels.append(roofline_of(costs, hardware))
    return tuple(panels)


def layer_view(run: Run) -> pd.DataFrame:
    """Return the layer table with errors, outliers and cost joined to it, what matters most first."""
    if run.layers.empty:
        return run.layers
    view = run.layers.assign(layer=run.layers["layer"].astype(str)).set_index("layer", drop=False)
    for name, column in _measured(run):
        view[name] = column
    for machine, costs in _by_machine(run):
        own = costs.assign(utilization_percent=100 * costs["utilization"]).set_index("name")
        for column in COST_COLUMNS:
            view[f"{column}[{machine}]"] = own[column].reindex(view.index)
    first = [name for name in FIRST_COLUMNS if name in view]
    rest = [name for name in view if name not in first]
    return view[first + rest].dropna(axis="columns", how="all").reset_index(drop=True)


def details(run: Run) -> dict[str, LayerDetail]:
    """Return histograms, profiles and outlier statistics by layer."""
    histograms: dict[str, list[Histogram]] = defaultdict(list)
    profiles: dict[str, list[Profile]] = defaultdict(list)
    for name, array in sorted(run.arrays.items(), key=_place):
        kind, _, place = name.partition("/")
        if kind == "histogram":
            layer, operand, transform = place.rsplit("/", 2)
            edges = np.asarray(run.arrays["histogram_edges"], np.float64)
            histograms[layer].append(
                Histogram(
                    operand=_operand_text(operand), transform=transform,
                    counts=np.asarray(array, np.int64), edges=edges,
                )
            )  # fmt: skip
        elif kind == "maxima":
            layer, operand, transform, axis = place.rsplit("/", 3)
            profiles[layer].append(
                Profile(
                    operand=_operand_text(operand), transform=transform, axis=axis,
                    maxima=np.asarray(array, np.float32),
                )
            )  # fmt: skip
    tables = _outlier_tables(run)
    names = dict.fromkeys([*histograms, *profiles, *tables])
    return {
        layer: LayerDetail(
            histograms=tuple(histograms[layer]),
            profiles=tuple(profiles[layer]),
            **({"outliers": tables[layer]} if layer in tables else {}),
        )
        for layer in names
    }


def _place(item: tuple[str, np.ndarray]) -> tuple[int, str]:
    """Put no transform first and the recipe's own second, so that both look alike in every chart."""
    parts = item[0].split("/")
    return min((at for at, name in enumerate((NONE, RECIPE)) if name in parts[-2:]), default=2), item[0]


def _operand_text(operand: str) -> str:
    return {"0": "activation", "1": "second operand"}.get(operand, operand)


def _by_machine(run: Run) -> Iterator[tuple[str, pd.DataFrame]]:
    if not run.cost.empty:
        for machine, costs in run.cost.groupby("machine", sort=False):
            yield str(machine), costs


def _measured(run: Run) -> Iterator[tuple[str, pd.Series]]:
    """Yield further columns of the layer view, by layer: of several steps the worst."""
    if not run.sensitivity.empty:
        by_layer = run.sensitivity.set_index("layer")
        yield "share_percent", by_layer["share_percent"]
        yield "gain_db", by_layer["gain_db"]
    if not run.errors.empty:
        for mode, part in run.errors.groupby("mode"):
            column = f"sqnr_{str(mode).replace('-', '_')}_db"
            yield column, part.groupby("layer")["sqnr_db"].min()
    if not run.activations.empty:
        first = run.activations[run.activations["operand"].astype(int) == 0]
        for transform, name in ((NONE, "crest_before"), (RECIPE, "crest_after")):
            yield name, first[first["transform"] == transform].groupby("layer")["crest"].max()
    if not run.codes.empty:
        for column in ("zero_percent", "saturated_percent"):
            yield column, run.codes.groupby("layer")[column].mean()


def _outlier_tables(run: Run) -> Mapping[str, pd.DataFrame]:
    """Return by layer one row per operand and transform: the largest crest and kurtosis, else means."""
    import pandas as pd

    parts = []
    bits = [name for name in run.activations.columns if name.startswith("sqnr_")]
    worst: dict[str, Any] = {"crest": "max", "kurtosis": "max"}
    columns = [name for name in (*STATISTICS, *bits) if name in run.activations or name in run.weights]
    for frame in (run.activations, run.weights):
        if not frame.empty:
            labelled = frame.assign(
                operand=[_operand_text(str(operand)) for operand in frame["operand"]]
                if "operand" in frame
                else "weight"
            )
            keys = ["layer", "operand", "transform"]
            parts.append(
                labelled.groupby(keys, sort=False)
                .agg({name: worst.get(name, "mean") for name in columns if name in labelled})
                .reset_index()
            )
    if not parts:
        return {}
    whole = pd.concat(parts, ignore_index=True)
    return {str(layer): part.drop(columns="layer") for layer, part in whole.groupby("layer", sort=False)}


def _timeline(machine: str, costs: pd.DataFrame) -> Timeline:
    engines = tuple(name for name in ENGINES if costs[f"{name}_cycles"].any())
    spans = []
    for row in costs.to_dict("records"):
        cycle_s = row["latency_s"] / row["cycles"] if row["cycles"] else 0.0
        spans.append(
            Span(
                layer=str(row["name"]),
                kind=kind_of(row["op"]),
                bound_by=str(row["bound_by"]),
                start_s=row["start_cycle"] * cycle_s,
                length_s=row["latency_s"],
                busy_s=tuple(row[f"{name}_cycles"] * cycle_s for name in engines),
            )
        )
    return Timeline(machine=machine, engines=engines, spans=tuple(spans))
