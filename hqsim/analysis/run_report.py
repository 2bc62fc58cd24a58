"""From runs to a page: cards, findings, charts and tables of each run, and what compares them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from hqsim.analysis.answers import answers
from hqsim.analysis.comparison_table import COSTS, MEASURED
from hqsim.analysis.comparison_view import comparison_view, transform_texts
from hqsim.analysis.findings import findings
from hqsim.analysis.quality import FEATURES
from hqsim.analysis.run_charts import curves, details, grids, layer_view, rooflines, timelines
from hqsim.report import ComparisonReport, ImageStrip, Page, RunReport, VerdictCard
from hqsim.report.quantities import reading
from hqsim.report.tradeoff import LABELLED, Point, Tradeoff

if TYPE_CHECKING:
    import pandas as pd

    from hqsim.analysis.compare import Comparison
    from hqsim.analysis.run_folder import Run
    from hqsim.report.details import LayerDetail

SHOWN, SHOWN_OF_MANY = 20, 10
"""Images of a run on a page, and of each where many runs are compared."""
WHOLE_RUNS = 12
"""So many runs are shown whole; of more, those on a front: with images, roofline and timeline."""
HOLLOW = "asymmetric operands"
DETAILED_LAYERS = 400
"""So many layers of a page, of each run those with the largest shares of the error, show distributions."""
EXECUTORS = MappingProxyType({"fakequant": "fake-quant"})
TABLES = ("activations", "weights", "codes", "accumulators", "errors", "sensitivity", "growth", "cost")
NO_CARDS: Mapping[str, Sequence[VerdictCard]] = MappingProxyType({})


def page_of(
    runs: Sequence[Run],
    comparison: Comparison | None = None,
    *,
    cards: Mapping[str, Sequence[VerdictCard]] = NO_CARDS,
) -> Page:
    """Return the page of one run, or of several with what compares them.

    Parameters
    ----------
    runs
        At least one; where two have the same name, the later ones get a number.
    comparison
        What ``hqsim compare`` found. Without it several runs are compared by what their folders hold.
    cards
        Verdicts to show before a run's own, by its name.
    """
    named = _own_names(runs)
    whole = _shown_whole(named, comparison)
    layers = max(1, DETAILED_LAYERS // len(named))
    models = dict.fromkeys(str(run.settings.get("model", "")) for run in runs)
    several = len(named) > 1
    title = " and ".join(name for name in models if name) or "hqsim"
    return Page(
        title=f"{title}: {len(named)} runs compared" if several else f"{title} · {next(iter(named))}",
        subtitle="" if several else _subtitle(runs[0]),
        runs=tuple(
            _run(name, run, layers=layers, cards=tuple(cards.get(name, ())), whole=name in whole)
            for name, run in named.items()
        ),
        comparison=_comparison(named, comparison) if several or comparison else None,
    )


def _own_names(runs: Sequence[Run]) -> dict[str, Run]:
    named: dict[str, Run] = {}
    for run in runs:
        name, number = run.name, 2
        while name in named:
            name, number = f"{run.name} ({number})", number + 1
        named[name] = replace(run, name=name)
    return named


def _shown_whole(named: Mapping[str, Run], comparison: Comparison | None) -> set[str]:
    """Return the names of the runs that the page shows whole: all, or of many those on a front."""
    if len(named) <= WHOLE_RUNS:
        return set(named)
    if comparison is None:
        return set(list(named)[:WHOLE_RUNS])
    table = comparison.table
    return set(table["run"][table["pareto_energy"] | table["pareto_latency"]])


def _run(name: str, run: Run, *, layers: int, cards: tuple[VerdictCard, ...], whole: bool) -> RunReport:
    """Return what the page says of one run; the largest charts only where it is shown ``whole``."""
    images, labels = _images(run) if whole else ((), ())
    shares = run.sensitivity
    return RunReport(
        name=name,
        subtitle=_subtitle(run),
        cards=(*cards, *_cards(run)),
        findings=findings(run),
        images=images,
        image_labels=labels,
        grids=grids(run),
        shares=shares if shares.empty else shares[["layer", "share_percent"]],
        curves=curves(run),
        layers=layer_view(run),
        details=_most_important(details(run), run, layers),
        totals=run.totals,
        rooflines=rooflines(run) if whole else (),
        timelines=timelines(run) if whole else (),
        quality=run.quality.replace({"executor": dict(EXECUTORS)}),
        tables={table: getattr(run, table) for table in TABLES},
        manifest=run.manifest,
    )


def _subtitle(run: Run) -> str:
    settings = run.settings
    images = settings.get("labels")
    parts = [
        f"{settings['steps']} denoising steps" if "steps" in settings else "",
        f"guidance {settings['guidance']:g}" if settings.get("guidance") is not None else "",
        f"{len(images)} image{'' if len(images) == 1 else 's'} followed" if images else "",
        f"seed {settings['seed']}" if "seed" in settings else "",
    ]
    return ", ".join(part for part in parts if part)


def _most_important(found: Mapping[str, LayerDetail], run: Run, count: int) -> dict[str, LayerDetail]:
    """Return details of the ``count`` layers with the largest shares of the error, in execution order."""
    if len(found) <= count:
        return dict(found)
    if run.sensitivity.empty:
        kept = set(list(found)[:count])
    else:
        ranked = run.sensitivity.sort_values("share_percent", ascending=False, kind="stable")["layer"]
        kept = set([layer for layer in ranked.astype(str) if layer in found][:count])
    return {layer: detail for layer, detail in found.items() if layer in kept}


def _images(run: Run) -> tuple[tuple[ImageStrip, ...], tuple[str, ...]]:
    strips = tuple(
        ImageStrip(EXECUTORS.get(name, name), _pixels(codes))
        for name, codes in sorted(run.images.items(), key=lambda item: item[0] != "float")
        if name != "labels"
    )
    labels = run.images.get("labels", np.array([], np.int64))
    return strips, tuple(str(label) for label in labels[:SHOWN]) if strips else ()


def _pixels(codes: np.ndarray) -> np.ndarray:
    """Turn ``[n, c, h, w]`` to what a page shows: colour where there are three channels, else the first."""
    shown = codes[:SHOWN]
    return np.moveaxis(shown, 1, -1) if shown.shape[1] == 3 else shown[:, 0]


def _cards(run: Run) -> tuple[VerdictCard, ...]:
    import pandas as pd

    cards = []
    for row in run.quality.to_dict("records"):
        if row["executor"] == "integer":
            detail = f"SQNR of {row['images']} images against the float model's, PSNR {row['psnr_db']:.1f} dB"
            cards.append(
                VerdictCard("images of the integer model", f"{row['sqnr_db']:.1f} dB", "info", detail)
            )
        if "classifier_accuracy" in row and row["executor"] in ("float", "integer"):
            cards.append(
                VerdictCard(
                    f"labels recognised, {row['executor']}",
                    f"{100 * row['classifier_accuracy']:.1f} %",
                    "info",
                    f"of {row['images']} images; Fréchet distance {row['frechet_distance']:.2f} ({FEATURES})",
                )
            )
    if not run.sensitivity.empty:
        worst = run.sensitivity.loc[run.sensitivity["share_percent"].idxmax()]
        cards.append(
            VerdictCard(
                "layer that hurts most", f"{worst['share_percent']:.0f} %", "info",
                f"of the final error from {worst['layer']}",
            )
        )  # fmt: skip
    if "accumulator_bits" in run.layers:
        widest = run.layers.loc[run.layers["accumulator_bits"].idxmax()]
        observed = widest.get("observed_bits")
        seen = "" if pd.isna(observed) else f"; observed sums need {observed:.0f}"
        cards.append(
            VerdictCard(
                "widest accumulator", f"{widest['accumulator_bits']} bits", "info",
                f"proved, {widest['layer']}{seen}",
            )
        )  # fmt: skip
    for row in run.totals.to_dict("records"):
        cards.append(
            VerdictCard(
                f"one image on {row['machine']}",
                reading(row["latency_per_image_s"], "s"),
                "info",
                f"{reading(row['energy_per_image_pj'], 'pj')}, "
                f"{reading(row['dram_per_image_bytes'], 'bytes')} DRAM, bound by {row['bound_by']}",
            )
        )
    return tuple(cards)


def _comparison(named: Mapping[str, Run], found: Comparison | None) -> ComparisonReport:
    import pandas as pd

    runs = list(named.values())
    table = found.table if found else run_table(named)
    view = comparison_view(table)
    images, labels = _compared_images(named)
    return ComparisonReport(
        answers=answers(runs, table),
        table=table,
        view=view.rows,
        views=view.tabs,
        common=view.common,
        claims=found.claims if found else pd.DataFrame(),
        left_out=found.left_out if found else pd.DataFrame(),
        tradeoffs=tuple(_tradeoffs(table)),
        images=images,
        image_labels=labels,
    )


def run_table(named: Mapping[str, Run]) -> pd.DataFrame:
    """Return one row per run and machine with what the runs themselves tell of transform, widths and cost."""
    import pandas as pd

    rows = []
    for name, run in named.items():
        row: dict[str, Any] = {"run": name}
        if not run.layers.empty:
            kinds = run.layers["transform"].str.split().str[0]
            used = kinds[kinds != "none"]
            row["transform"] = used.mode()[0] if len(used) else "none"
            row |= {bits: run.layers[bits].max() for bits in ("multiplier_bits", "accumulator_bits")}
        integer = run.quality[run.quality["executor"] == "integer"] if not run.quality.empty else run.quality
        row |= {column: integer[column].iloc[0] for column in MEASURED if column in integer and len(integer)}
        machines = run.totals.to_dict("records") or [{}]
        for total in machines:
            costs = {column: total.get(source, np.nan) for column, source in COSTS.items()}
            rows.append({**row, "machine": total.get("machine", ""), **costs})
    return pd.DataFrame(rows)


def _tradeoffs(table: pd.DataFrame) -> list[Tradeoff]:
    """Return quality over energy and over latency, on every machine."""
    found: list[Tradeoff] = []
    if "sqnr_db" not in table:
        return found
    many = table["run"].nunique() > LABELLED and "transform" in table
    table = table.assign(group=transform_texts(table) if many else table["run"])
    for machine, rows in table.groupby("machine", sort=False):
        for column, label, unit in (
            ("energy_pj", "energy per image", "pj"),
            ("latency_s", "latency per image", "s"),
        ):
            known = rows.dropna(subset=["sqnr_db", column])
            points = tuple(
                Point(
                    label=str(row["run"]),
                    group=str(row["group"]),
                    cost=float(row[column]),
                    quality=float(row["sqnr_db"]),
                    low=float(row.get("sqnr_low_db", np.nan)),
                    high=float(row.get("sqnr_high_db", np.nan)),
                    hollow=many and not row.get("symmetric", True),
                )
                for row in known.to_dict("records")
                if np.isfinite(row["sqnr_db"])
            )
            if points:
                found.append(
                    Tradeoff(
                        name=f"quality-{label.split()[0]}-{machine}",
                        title=f"{machine}: quality over {label.split()[0]}",
                        cost_label=label,
                        unit=unit,
                        quality_label="SQNR against float [dB]",
                        points=points,
                        hollow=HOLLOW if any(point.hollow for point in points) else "",
                    )
                )
    return found


def _compared_images(named: Mapping[str, Run]) -> tuple[tuple[ImageStrip, ...], tuple[str, ...]]:
    """Return the float model's images and every run's integer ones, where all come from the same noise."""
    first = next(iter(named.values()))
    decided = [
        [run.settings.get(name) for name in ("model", "steps", "guidance", "seed")] for run in named.values()
    ]
    have = all({"float", "integer"} <= set(run.images) for run in named.values())
    if not have or any(other != decided[0] for other in decided):
        return (), ()
    labels = first.images.get("labels", np.array([], np.int64))
    if any(not np.array_equal(run.images.get("labels", labels), labels) for run in named.values()):
        return (), ()
    count = SHOWN if len(named) <= WHOLE_RUNS else SHOWN_OF_MANY
    strips = [ImageStrip("float", _pixels(first.images["float"])[:count])]
    strips += [
        ImageStrip(name if name != "float" else "float (run)", _pixels(run.images["integer"])[:count])
        for name, run in named.items()
    ]
    return tuple(strips), tuple(str(label) for label in labels[:count])
