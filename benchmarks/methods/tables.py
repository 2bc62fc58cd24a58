"""The page's tables in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from benchmarks.methods import plan
from benchmarks.methods.claims import NOT_RUN, Claim, pair, short_name
from benchmarks.methods.plan import Variant
from benchmarks.methods.results import Results
from hqsim.analysis.bootstrap import Measured
from hqsim.analysis.claims import FAILS, HOLDS, UNDECIDED, Published, width_text
from hqsim.analysis.features import DigitsExtractor
from hqsim.analysis.quality import METRICS
from hqsim.quantize import load_recipe
from hqsim.report.quantities import MISSING
from hqsim.report.tradeoff import Point, front_of
from hqsim.train.budget import budget

PAPER_NAMES = {"float": "FP", "efficientdm": "EfficientDM", "hqdm": "HQ-DM"}
PAPER_METRICS = ("IS", "FID", "sFID", "Precision")
DOUBLE_CHANNEL = "double, convolutions too"
FULL_SIZE, SUSTAINED_TFLOPS = "ldm4-imagenet", 60


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]], *, text_columns: int = 1) -> str:
    """Return a table; all columns but the first ones are aligned to the right."""
    marks = ["---"] * text_columns + ["---:"] * (len(header) - text_columns)
    lines = [header, marks, *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def title(metric: str) -> str:
    """Return a metric's name with its features."""
    return METRICS[metric].title.format(DigitsExtractor.name)


def cell(figure: Measured | None, metric: str) -> str:
    """``12.34 (11.9 to 12.8)``."""
    if figure is None:
        return NOT_RUN
    low, high = METRICS[metric].interval(figure)
    decimals = METRICS[metric].decimals
    return f"{figure.value:.{decimals}f} ({low:.{decimals}f} to {high:.{decimals}f})"


def difference(results: Results, ours: Variant, theirs: Variant, metric: str) -> str:
    """``+0.12 (-0.10 to +0.34), undecided``."""
    verdict, text = pair(results, ours, theirs, metric)
    return NOT_RUN if verdict == NOT_RUN else f"{text}, {verdict}"


def overview_table(results: Results) -> str:
    """SQNR of every method at every width; the intervals stand in the tables of the widths."""
    rows = []
    for method in plan.METHODS:
        found = [results.figures(Variant(method, width, method in plan.TRAINED)) for width in plan.WIDTHS]
        rows.append([method, *(f"{each['sqnr_db'].value:.2f}" if each else NOT_RUN for each in found)])
    return markdown([title("sqnr_db"), *(width_text(width) for width in plan.WIDTHS)], rows)


def method_tables(results: Results, published: Published) -> str:
    """One table per width: measured figures, then the published ones in columns of their own."""
    header = [
        "Method", *(title(metric) for metric in METRICS),
        *(f"published, ImageNet LDM-4: {metric}" for metric in PAPER_METRICS),
    ]  # fmt: skip
    text = ""
    for width in plan.WIDTHS:
        rows = [_row(results, published, None, "float", "w32a32")]
        for method in plan.METHODS:
            variant = Variant(method, width, method in plan.TRAINED)
            rows.append(_row(results, published, variant, method, width))
        text += f"### {width_text(width)}\n\n{markdown(header, rows)}\n\n"
    return text.rstrip()


def _row(
    results: Results, published: Published, variant: Variant | None, method: str, width: str
) -> list[str]:
    figures = results.figures(variant)
    cells = [method]
    for metric in METRICS:
        absent = variant is None and metric in ("sqnr_db", "psnr_db")
        figure = None if figures is None else figures.get(metric)
        cells.append(MISSING if absent else cell(figure, metric))
    for metric in PAPER_METRICS:
        value = published.get("T1", PAPER_NAMES.get(method, method), width, metric)
        cells.append(MISSING if value is None else f"{value:.2f}")
    return cells


def start_table(results: Results) -> str:
    """What training adds to the untrained start of the same recipe."""
    metrics = ("sqnr_db", "frechet")
    header = [
        "Method",
        "Widths",
        *(f"{short_name(m)}, {what}" for m in metrics for what in ("start", "gain")),
    ]
    rows = []
    for start in sorted(plan.start_variants(), key=lambda variant: variant.widths, reverse=True):
        trained = replace(start, trained=True)
        cells = [method_name(start), width_text(start.widths)]
        for metric in metrics:
            figures = results.figures(start)
            cells.append(cell(figures and figures[metric], metric))
            cells.append(difference(results, trained, start, metric))
        rows.append(cells)
    return markdown(header, rows, text_columns=2)


def export_table(results: Results) -> str:
    """What export makes of a student: scales snapped, zero-points rounded, weights as codes."""
    rows = []
    for variant in (variant for variant in plan.table_variants() if variant.trained):
        found = results.noise_sqnr_db(variant)
        cells = [NOT_RUN] * 4
        if found is not None:
            change = found["exported"] - found["learned"]
            cells = [*(f"{found[what]:.3f}" for what in ("start", "learned", "exported")), f"{change:+.3f}"]
        rows.append([variant.method, width_text(variant.widths), *cells])
    return markdown(["Method", "Widths", "start", "learned", "exported", "change"], rows, text_columns=2)


def tradeoff_points(results: Results) -> dict[Variant, Point]:
    """Return quality over bit operations of the ablation and of the other methods at the same widths."""
    groups = {variant: f"{t.axis}{', signs' * t.signs}" for t, variant in plan.ablation_variants()}
    labels = dict.fromkeys(plan.double_channel_variants(), "double-channel")
    labels |= {variant: f"k={t.order}" for t, variant in plan.ablation_variants()}
    points = {}
    for variant in plan.traded_variants():
        figures = results.figures(variant, results.ablation_images)
        if figures is not None:
            low, high = figures["sqnr_db"].interval
            points[variant] = Point(
                label=labels.get(variant, variant.method),
                group=groups.get(variant, "other methods"),
                cost=results.bits(variant).bit_operations / 1e9,
                quality=figures["sqnr_db"].value,
                low=low,
                high=high,
            )
    return points


def ablation_table(results: Results) -> str:
    """Order, axis, signs: bits of the multiplier, bit operations, quality, and who is on the front."""
    header = [
        "Transform", "stored bits", "multiplier bits, most products", "widest (layers that have it)",
        "Gbit-operations per step", "transform additions per step (millions)", "SQNR (dB)",
        "SQNR per Gbit-operation", title("frechet"), "on the front",
    ]  # fmt: skip
    points = tradeoff_points(results)
    front = {id(point) for point in front_of(list(points.values()))}
    rows = []
    for transform, variant in plan.ablation_variants():
        bits, point = results.bits(variant), points.get(variant)
        figures = results.figures(variant, results.ablation_images) or {}
        giga = bits.bit_operations / 1e9
        rows.append(
            [
                transform.text,
                str(variant.recipe.activations.bits),
                str(bits.multiplier_bits),
                f"{bits.widest_bits} ({len(bits.widest_layers)})",
                f"{giga:.2f}",
                f"{bits.butterfly_adds / 1e6:.2f}",
                cell(figures.get("sqnr_db"), "sqnr_db"),
                f"{point.quality / giga:.2f}" if point else NOT_RUN,
                cell(figures.get("frechet"), "frechet"),
                NOT_RUN if point is None else "yes" if id(point) in front else "no",
            ]
        )
    return markdown(header, rows)


def single_double_table(results: Results) -> str:
    """One transform as single and as double: quality, and what the multiplier sees."""
    header = [
        "Method", "Widths", title("sqnr_db"), "beside hqdm-channel, paired (dB)", title("frechet"),
        "multiplier bits, most products", "Gbit-operations per step",
        "transform additions per step (millions)",
    ]  # fmt: skip
    rows = []
    for both in plan.double_channel_variants():
        single, *others = (
            Variant(method, both.widths, True) for method in ("hqdm-channel", "efficientdm", "double")
        )
        names = {single: "single (hqdm-channel)", both: DOUBLE_CHANNEL}
        for variant in (*others, single, both):
            figures, bits = results.figures(variant) or {}, results.bits(variant)
            rows.append(
                [
                    names.get(variant, variant.method),
                    width_text(variant.widths),
                    cell(figures.get("sqnr_db"), "sqnr_db"),
                    MISSING if variant is single else difference(results, variant, single, "sqnr_db"),
                    cell(figures.get("frechet"), "frechet"),
                    str(bits.multiplier_bits),
                    f"{bits.bit_operations / 1e9:.2f}",
                    f"{bits.butterfly_adds / 1e6:.2f}",
                ]
            )
    return markdown(header, rows, text_columns=2)


def rivals_table(results: Results, ours: Sequence[Variant]) -> str:
    """Variants beside every method of the table, under both losses."""
    metrics = ("sqnr_db", "frechet")
    header = [
        "beside", "Widths",
        *(f"{short_name(metric)}, loss of the {loss}" for loss in plan.LOSSES for metric in metrics),
    ]  # fmt: skip
    rows = []
    for variant in ours:
        taught = [replace(variant, loss=loss) for loss in plan.LOSSES]
        for pairs in zip(*([(each, rival) for rival in plan.rivals(each)] for each in taught), strict=True):
            cells = [difference(results, *pair, metric) for pair in pairs for metric in metrics]
            rows.append([pairs[0][1].method, width_text(variant.widths), *cells])
    return markdown(header, rows, text_columns=2)


def repeat_table(results: Results) -> str:
    """SQNR of trainings that differ in their seed alone, their spread, and each beside EfficientDM's."""
    seeds = [f"seed {results.journal.settings.seed + seed}" for seed in plan.SEEDS]
    rows = []
    for repeats in plan.repeated_variants():
        first = repeats[0]
        found = [results.figures(variant) for variant in repeats]
        values = [figures["sqnr_db"].value for figures in found if figures]
        spread = MISSING if len(values) < 2 else f"{np.mean(values):.2f} ± {np.std(values, ddof=1):.2f}"
        cells = [cell(figures and figures["sqnr_db"], "sqnr_db") for figures in found]
        rivals = [replace(variant, method="efficientdm", transform=None) for variant in repeats]
        beside = [
            MISSING if ours == theirs else difference(results, ours, theirs, "sqnr_db")
            for ours, theirs in zip(repeats, rivals, strict=True)
        ]
        rows.append([method_name(first), width_text(first.widths), first.loss, *cells, spread, *beside])
    header = [
        "Method", "Widths", "loss of the", *(f"SQNR (dB), {seed}" for seed in seeds),
        "mean ± standard deviation", *(f"beside efficientdm (dB), {seed}" for seed in seeds),
    ]  # fmt: skip
    return markdown(header, rows, text_columns=3)


def longer_table(results: Results) -> str:
    """Trainings with the table's budget and with a longer one, and each beside EfficientDM's of its kind."""
    updates = results.journal.settings.updates
    header = [
        "Method", "Widths", "loss of the",
        *(f"{short_name(metric)}, {times * updates:,} updates"
          for metric in ("sqnr_db", "frechet") for times in (1, plan.LONGER)),
        "gain, paired (dB)", "beside efficientdm, paired (dB)", "beside efficientdm, Fréchet",
    ]  # fmt: skip
    rows = []
    for short, longer in plan.longer_variants():
        rival = replace(longer, method="efficientdm")
        found = [results.figures(variant) or {} for variant in (short, longer)]
        measured = [
            cell(figures.get(metric), metric) for metric in ("sqnr_db", "frechet") for figures in found
        ]
        beside = [
            MISSING if longer == rival else difference(results, longer, rival, metric)
            for metric in ("sqnr_db", "frechet")
        ]
        gain = difference(results, longer, short, "sqnr_db")
        rows.append([short.method, width_text(short.widths), short.loss, *measured, gain, *beside])
    return markdown(header, rows, text_columns=3)


def loss_table(results: Results) -> str:
    """The published loss and that of the next sample, and the latter's rows beside EfficientDM's."""
    header = [
        "Method", "Widths", "SQNR, loss of the noise (dB)", "SQNR, loss of the sample (dB)",
        "gain, paired (dB)", "beside efficientdm with it too (dB)", "Fréchet, noise", "Fréchet, sample",
    ]  # fmt: skip
    rows = []
    for noise, sample in sorted(plan.sample_loss_variants(), key=lambda pair: pair[0].widths, reverse=True):
        ours, theirs = results.figures(noise) or {}, results.figures(sample) or {}
        rival = Variant("efficientdm", noise.widths, True, loss="sample")
        rows.append(
            [
                method_name(noise),
                width_text(noise.widths),
                cell(ours.get("sqnr_db"), "sqnr_db"),
                cell(theirs.get("sqnr_db"), "sqnr_db"),
                difference(results, sample, noise, "sqnr_db"),
                MISSING if sample == rival else difference(results, sample, rival, "sqnr_db"),
                cell(ours.get("frechet"), "frechet"),
                cell(theirs.get("frechet"), "frechet"),
            ]
        )
    return markdown(header, rows, text_columns=2)


def method_name(variant: Variant) -> str:
    """What a row of a table of trainings is called."""
    both = {each.transform for each in plan.double_channel_variants()}
    return DOUBLE_CHANNEL if variant.method == "double" and variant.transform in both else variant.method


def tfmq_table(results: Results) -> str:
    """TFMQ-DM beside plain PTQ, in the two steps from one to the other."""
    metrics = ("sqnr_db", "psnr_db", "frechet", "spatial_frechet")
    rows = []
    for widths in plan.TFMQ_WIDTHS:
        steps = {
            "ptq": Variant("ptq", widths, False),
            "tfmq, calibrated only": Variant("tfmq", widths, False),
            "tfmq": Variant("tfmq", widths, True),
        }
        for (name, case), before in zip(steps.items(), (None, *steps.values()), strict=False):
            figures = results.figures(case) or {}
            cells = (cell(figures.get(metric), metric) for metric in metrics)
            gain = difference(results, case, before, "sqnr_db") if before else MISSING
            rows.append([name, width_text(widths), *cells, gain])
    header = ["Method", "Widths", *(title(metric) for metric in metrics), "beside the row above, paired (dB)"]
    return markdown(header, rows, text_columns=2)


def budget_table() -> str:
    """What an update of HQ-DM takes at full size, computed from shapes."""
    rows = []
    for images in (1, 2, 8):
        found = budget(FULL_SIZE, load_recipe(f"hqdm-{plan.ABLATION_WIDTH}"), images=images)
        parts = (found.frozen_bytes, found.weight_bytes, found.learned_bytes, found.activation_bytes)
        sizes = [f"{size / 2**30:.2f}" for size in (*parts, found.total_bytes)]
        times = [f"{2 * found.macs / 1e12:.2f}", f"{found.seconds(SUSTAINED_TFLOPS):.3f}"]
        rows.append([str(images), *sizes, *times])
    sizes = [f"{part} (GiB)" for part in ("frozen", "weights", "learned", "activations", "total")]
    return markdown(["images", *sizes, "TFLOP", f"seconds at {SUSTAINED_TFLOPS} TFLOP/s"], rows)


def claims_table(claims: Iterable[Claim]) -> str:
    """Claim, published, measured, verdict."""
    rows = [[claim.claim, claim.published, claim.measured, claim.verdict] for claim in claims]
    return markdown(["Claim", "Published", "Measured here: difference", "Verdict"], rows, text_columns=4)


def tally(claims: Sequence[Claim]) -> str:
    """Count the verdicts in a sentence."""
    verdicts = [claim.verdict for claim in claims]
    names = (HOLDS, FAILS, UNDECIDED, NOT_RUN)
    counts = ", ".join(f"{name}: {verdicts.count(name)}" for name in names if name in verdicts)
    return f"Of {len(claims)} lines: {counts}."


def temporal_table(frame: pd.DataFrame | None) -> str:
    """Errors of the temporal features, the models of ``frame`` side by side."""
    if frame is None:
        return study_table(None)
    shown = {
        "squared_error": "squared error",
        "sqnr_db": "SQNR (dB)",
        "worst_sqnr_db": "worst embedding (dB)",
    }
    wide = frame.pivot_table(index="timestep", columns="model", values=list(shown), sort=False)
    models = frame["model"].unique()
    header = ["timestep", *(f"{figure}, {model}" for figure in shown.values() for model in models)]
    rows = [
        [str(timestep), *(f"{row[figure, model]:.4g}" for figure in shown for model in models)]
        for timestep, row in wide.iterrows()
    ]
    return markdown(header, rows)


def study_table(frame: pd.DataFrame | None) -> str:
    """Any DataFrame, numbers with four figures."""
    if frame is None:
        return NOT_RUN.capitalize() + "."
    rows = [
        [f"{x:.4g}" if isinstance(x, float) else str(x) for x in row] for row in frame.itertuples(index=False)
    ]
    return markdown([str(name) for name in frame.columns], rows)
