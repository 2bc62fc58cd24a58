"""The grid of transforms on ``digits``: docs/TRANSFORMS.md, its figures and CSV, from a comparison's folder.

Run the command in the page's header, then ``python benchmarks/transform_grid.py reports/grid``. The sentences
under "Findings" are made from the figures of the runs.
"""

from __future__ import annotations

import argparse
import json
import shutil
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path

import pandas as pd

from hqsim.analysis.bootstrap import Measured
from hqsim.analysis.claims import NOT_MEASURED, comparison
from hqsim.analysis.comparison_view import transform_texts
from hqsim.analysis.run_folder import read_run
from hqsim.analysis.sample_quality import figures_of

DOCS = Path(__file__).parent.parent / "docs"
MACHINES = ("edge-npu-16x16", "tpu-v4i")
CHOICES = ("transform", "axis", "signs", "order", "symmetric", "activation_bits")
HEADER = """# The grid of transforms

Written by `python benchmarks/transform_grid.py reports/grid --minutes {minutes}` from

    hqsim compare {model} --untrained --hardware {machines} \\
        --grid benchmarks/grids/digits-w4a4.yaml,benchmarks/grids/digits-w4a3.yaml \\
        --images {images} --steps {steps} --out reports/grid

{count} recipes of plain PTQ that differ in one choice each: the transform, its order, its signs, the symmetry
of activation codes, the width of activations. **Calibrated, not trained**; the trained methods stand in
[METHODS.md](METHODS.md). {steps} steps and {images} images: enough to tell most choices apart by paired
differences, too few for image quality as such. The command takes {minutes} minutes of one core; killed and
started again, it goes on. All figures: [transforms.csv](transforms.csv).

*Single* transforms the operand and undoes it in front of the multipliers, along the width or the channels of
convolutions, along the channels of linear layers. *Double* transforms operand and weights: of linear layers,
or of convolutions too (*double channel*). Orders are the largest up to 3 or 5 that divide the axis.

![Quality over energy on {machine}](images/transforms-energy.png)

![Quality over latency on {machine}](images/transforms-latency.png)

## Findings

SQNR of images against the float model's from the same noise; brackets are 95 % intervals, those of
differences paired by image.

"""
CHANGES = """
## What each choice changes

SQNR in dB over all pairs of recipes that differ in this choice alone; *clearly*: the 95 % interval of the
paired difference leaves out zero.

"""
CLAIMS = """
## The paper's claims

Those that these recipes can judge; the others need trained methods.

| Claim | Source | Measured | Verdict | What it rests on |
|---|---|---|---|---|
"""
TABLE = """
## The table

SQNR in dB with its 95 % interval. *Multiplier*, *accumulator*: bits, the largest of a layer (in brackets
the mean by multiply-accumulates); *crest*: the weights' largest magnitude over their rms in the domain of the
codes, the worst layer (the median one). Energy and latency of one image beside those of *none* with the same
codes.
"""


def main() -> None:
    """Read the folder of the comparison and write page, CSV and figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="what 'hqsim compare --grid' wrote")
    parser.add_argument("--minutes", required=True, help="processor time of the comparison")
    parser.add_argument("--docs", type=Path, default=DOCS, help="folder of the page")
    options = parser.parse_args()
    settings = json.loads((options.folder / "compare.json").read_text(encoding="utf-8"))
    table = pd.read_csv(options.folder / "comparison.csv", keep_default_na=False, na_values=[""])
    figures = {
        name: figures_of(read_run(options.folder / "runs" / name).arrays, "integer")["sqnr_db"]
        for name in dict.fromkeys(table["run"])
    }
    for cost in ("energy", "latency"):
        source = options.folder / "figures" / f"quality-{cost}-{MACHINES[0]}.png"
        shutil.copyfile(source, options.docs / "images" / f"transforms-{cost}.png")
    shutil.copyfile(options.folder / "comparison.csv", options.docs / "transforms.csv")
    page = HEADER.format(
        model=settings["model"], machines=",".join(MACHINES), machine=MACHINES[0], images=settings["images"],
        steps=settings["steps"], count=table["run"].nunique(), minutes=options.minutes,
    )  # fmt: skip
    for sentence in findings(table, figures):
        page += textwrap.fill(sentence, 118, initial_indent="- ", subsequent_indent="  ") + "\n"
    page += CHANGES + "".join(changes(table, figures))
    page += CLAIMS + "".join(judged(pd.read_csv(options.folder / "claims.csv"))) + TABLE
    page += "".join(tables(table))
    (options.docs / "TRANSFORMS.md").write_text(page, encoding="utf-8")


def findings(table: pd.DataFrame, figures: Mapping[str, Measured]) -> Iterator[str]:
    """Sentences that hold for whatever the figures are."""
    runs = table.drop_duplicates("run")
    for (bits, symmetric), rows in runs.groupby(["activation_bits", "symmetric"], sort=False):
        best, plain = rows.loc[rows["sqnr_db"].idxmax()], rows[rows["transform"] == "none"].iloc[0]
        if best["run"] == plain["run"]:
            others = rows[rows["transform"] != "none"]
            best = others.loc[others["sqnr_db"].idxmax()]
        _, text = comparison(figures[best["run"]], figures[plain["run"]], "sqnr_db")
        price = ", ".join(
            f"{_ratio(table, best['run'], plain['run'], machine, 'energy_pj')} of the energy and "
            f"{_ratio(table, best['run'], plain['run'], machine, 'latency_s')} of the latency on {machine}"
            for machine in MACHINES
        )
        codes = "symmetric" if symmetric else "asymmetric"
        yield (
            f"**W4A{bits}, {codes}.** The best transform is {_name(best)}: {best['sqnr_db']:.1f} dB, "
            f"{text} dB beside none ({plain['sqnr_db']:.1f} dB), at {price}."
        )
    kinds = runs.groupby("transform", sort=False)
    crest = kinds[["weight_crest", "weight_crest_median"]].max()
    yield (
        "**Weights.** The median layer has a crest of "
        + ", ".join(f"{row.weight_crest_median:.1f} ({kind})" for kind, row in crest.iterrows())
        + " at most, the worst layer "
        + ", ".join(f"{row.weight_crest:.1f} ({kind})" for kind, row in crest.iterrows())
        + "."
    )


def changes(table: pd.DataFrame, figures: Mapping[str, Measured]) -> Iterator[str]:
    """Yield the Markdown of what each choice changes, over all pairs that differ in it alone."""
    runs = table.drop_duplicates("run").assign(name=lambda frame: transform_texts(frame))
    plain, kinds = runs[runs["name"] == "none"], runs[runs["name"] != "none"]
    yield "| Change | Pairs | Clearly better | Clearly worse | Least | Median | Most |\n"
    yield "|---" + "|---:" * 6 + "|\n"
    for name, rows in kinds.groupby("name", sort=False):
        yield _change(f"{name} instead of none", plain, rows, ["symmetric", "activation_bits"], figures)
    for old, new in (("single width", "double"), ("single channel", "double channel")):
        before, after = (kinds[kinds["name"] == name] for name in (old, new))
        on = ["order", "symmetric", "activation_bits"]
        yield _change(f"{new} instead of {old}", before, after, on, figures)
    for changed, old, new, words in (
        ("signs", False, True, "signs"),
        ("order", 3, 5, "order 5 instead of 3"),
        ("symmetric", True, False, "asymmetric instead of symmetric codes"),
    ):
        before, after = (runs[runs[changed] == choice] for choice in (old, new))
        yield _change(words, before, after, [name for name in CHOICES if name != changed], figures)


def _change(
    words: str, before: pd.DataFrame, after: pd.DataFrame, on: list[str], figures: Mapping[str, Measured]
) -> str:
    pairs = before.merge(after, on=on, suffixes=("_before", "_after"))
    gains = pairs["sqnr_db_after"] - pairs["sqnr_db_before"]
    verdicts = [
        comparison(figures[new], figures[old], "sqnr_db")[0]
        for new, old in zip(pairs["run_after"], pairs["run_before"], strict=True)
    ]
    counts = " | ".join(str(verdicts.count(verdict)) for verdict in ("better", "worse"))
    span = " | ".join(f"{gain:+.1f}" for gain in (gains.min(), gains.median(), gains.max()))
    return f"| {words} | {len(pairs)} | {counts} | {span} |\n"


def judged(claims: pd.DataFrame) -> Iterator[str]:
    """Yield the Markdown of the claims that have a verdict."""
    for row in claims[claims["verdict"] != NOT_MEASURED].itertuples():
        yield f"| {row.claim} | {row.source} | {row.measured} | **{row.verdict}** | {row.detail} |\n"


def tables(table: pd.DataFrame) -> Iterator[str]:
    """Yield the Markdown of one table per width and symmetry."""
    for (bits, symmetric), rows in table.groupby(["activation_bits", "symmetric"], sort=False):
        yield f"\n### W4A{bits}, {'symmetric' if symmetric else 'asymmetric'}\n\n"
        costs = [f"{word}, {machine}" for machine in MACHINES for word in ("energy", "latency")]
        yield f"| Transform | SQNR | Multiplier | Accumulator | Crest | {' | '.join(costs)} |\n"
        yield "|---" + "|---:" * (4 + len(costs)) + "|\n"
        runs = rows.drop_duplicates("run")
        plain = runs[runs["transform"] == "none"].iloc[0]["run"]
        for row in runs.to_dict("records"):
            cells = [
                f"{row['sqnr_db']:.1f} ({row['sqnr_low_db']:.1f} to {row['sqnr_high_db']:.1f})",
                f"{row['multiplier_bits']} ({row['multiplier_bits_mean']:.1f})",
                str(row["accumulator_bits"]),
                f"{row['weight_crest']:.1f} ({row['weight_crest_median']:.1f})",
                *(
                    _ratio(table, row["run"], plain, machine, cost)
                    for machine in MACHINES
                    for cost in ("energy_pj", "latency_s")
                ),
            ]
            yield f"| {_name(row)} | {' | '.join(cells)} |\n"


def _name(row: Mapping[str, object] | pd.Series) -> str:
    (text,) = transform_texts(pd.DataFrame([dict(row)]))
    return f"{text}, k = {row['order']}" if row["order"] else text


def _ratio(table: pd.DataFrame, run: str, plain: str, machine: str, cost: str) -> str:
    costs = table[table["machine"] == machine].set_index("run")[cost]
    return f"{costs[run] / costs[plain]:.2f}"


if __name__ == "__main__":
    main()
