"""What the single Hadamard transform costs on every machine: docs/HADAMARD_COST.md with its figure and CSV.

Run ``python benchmarks/hadamard_cost.py``; about half a minute. The sentences under "Findings" are made from
the figures of the run.
"""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from hqsim.analysis.hadamard_cost import TRANSFORMS, WIDTHS, hadamard_costs
from hqsim.cli.console import quantity
from hqsim.cost import list_hardware
from hqsim.models import load_model
from hqsim.report.ratios import ratio_text, save_ratios

MODEL = "ldm4-imagenet"
DOCS = Path(__file__).parent.parent / "docs"
FIGURE = "images/hadamard-cost.png"
CSV = "hadamard-cost.csv"
FIGURES = (
    ("latency", "latency_s", 1.0, "s", "Latency per step"),
    ("energy", "energy_pj", 1e-12, "J", "Energy per step"),
    ("dram", "dram_bytes", 1.0, "B", "DRAM traffic per step"),
)
AXES = {"width": "linear folded", "channel": "folded"}
FREE = 1.02
NAMES = [transform.name for transform in TRANSFORMS]

HEADER = """# What the single Hadamard transform costs

Written by `python benchmarks/hadamard_cost.py`: the cost model's estimate of `{model}` with guidance (two
samples per step), the mean of {steps} steps, on every machine of `hw_models/`. One cell alone:

    hqsim estimate {model} --recipe hqdm-w4a4 --realisation parity --hardware hq-npu-w4a9

The column *none* is plain W4A4 or W4A3 (recipe `ptq`); all other columns are ratios to it. *Width*: single
Hadamard of order 5 along width, along channels in linear layers (`hqdm`). *Channel*: order 3 along channels
(`hqdm-channel`). *Double*: order 5, linear layers alone, weights quantized transformed (`double`). The
realisations of one single transform give the same codes:

- *run time*: butterflies in front of the multipliers, which see 4 + 5 (or 4 + 3) bits;
- *folded*: the inverse in the weights, made offline and stored with 5 (or 3) bits more. Along width a
  convolution has no fold and stays at run time;
- *parity*: half the operand, one bit narrower, and one bit per block, which takes a second, small product on
  the same multipliers: along channels 2^k times less deep, with sums of weights that are stored beside the
  weights; along the width with few rows;
- *best*: for every layer the one with the fewest cycles, then the least energy.

A dash is a machine that refuses. Image quality is another matter: [VERIFICATION.md](VERIFICATION.md). All
figures, unrounded: [hadamard-cost.csv](hadamard-cost.csv).

![Ratios of latency and energy to no transform]({figure})

## Findings

Least to most (median) over the machines that do not refuse:

{summary}
At W4A4 a single transform of order 5 makes 9-bit operands, one bit more than an 8-bit multiplier takes; at
W4A3 they have 8. Of order 3 they have 7 and 6. Parity takes one bit from that, and pays with the products of
its second, small product.

"""


def ratio_frame(table: pd.DataFrame, widths: str, figure: str) -> pd.DataFrame:
    """Return ``[machine, transform]`` of one ratio."""
    part = table[table["widths"] == widths]
    return part.pivot(index="machine", columns="transform", values=f"{figure}_ratio")[NAMES]


def summary(table: pd.DataFrame) -> Iterator[str]:
    """Yield the Markdown of ranges and medians over the machines."""
    columns = [(widths, figure) for widths in WIDTHS for figure in ("latency", "energy")]
    yield f"| Transform | {' | '.join(f'{figure}, {widths.upper()}' for widths, figure in columns)} |\n"
    yield "|---" + "|---:" * len(columns) + "|\n"
    for name in NAMES[1:]:
        cells = (_span(ratio_frame(table, widths, figure)[name]) for widths, figure in columns)
        yield f"| {name} | {' | '.join(cells)} |\n"


def findings(table: pd.DataFrame) -> Iterator[str]:
    """Sentences that hold for whatever the figures are."""
    for widths in WIDTHS:
        latency, dram = (ratio_frame(table, widths, figure) for figure in ("latency", "dram"))
        total = len(latency)
        for axis, folded in AXES.items():
            base = latency[f"{axis}, run time"]
            parity, best = latency[f"{axis}, parity"], latency[f"{axis}, best"]
            rows = table[(table["widths"] == widths) & (table["transform"] == f"{axis}, parity")]
            more = 100 * (rows["parity_macs"] / rows["macs"]).max()
            yield (
                f"**{widths.upper()}, {axis}.** At run time {(base < FREE).sum()} of {total} machines lose "
                f"less than 2 % of latency, with the best realisation of each layer {(best < FREE).sum()}; "
                f"that choice is faster than run time in all layers on {_faster(best, base)}. Parity in all "
                f"layers, up to {more:.1f} % more products, is faster on {_faster(parity, base)}, and takes "
                f"{ratio_text((parity / base).min())} to {ratio_text((parity / base).max())} times as long. "
                f"Folding is faster on "
                f"{_faster(latency[f'{axis}, {folded}'], base)}, and moves "
                f"{_span(dram[f'{axis}, {folded}'])} times the DRAM bytes."
            )


def _span(ratios: pd.Series) -> str:
    low, high, middle = (ratio_text(value) for value in (ratios.min(), ratios.max(), ratios.median()))
    return f"{low} to {high} ({middle})"


def _faster(latency: pd.Series, base: pd.Series) -> str:
    """Name the machines on which one latency beats another by more than rounding."""
    ratios = latency / base
    return ", ".join(f"`{machine}`" for machine in ratios.index[ratios < 0.995]) or "none"


def tables(table: pd.DataFrame) -> Iterator[str]:
    """Yield the Markdown of one table per widths and figure."""
    for widths in WIDTHS:
        for figure, column, scale, unit, title in FIGURES:
            part = table[table["widths"] == widths]
            plain = part[part["transform"] == NAMES[0]].set_index("machine")[column]
            yield f"\n## {title}, {widths.upper()}\n\n| Machine | {' | '.join(NAMES)} |\n"
            yield "|---" + "|---:" * len(NAMES) + "|\n"
            for machine, ratios in ratio_frame(table, widths, figure).iterrows():
                cells = [quantity(plain[machine] * scale, unit), *map(ratio_text, ratios.iloc[1:])]
                yield f"| `{machine}` | {' | '.join(cells)} |\n"


def refusals(table: pd.DataFrame) -> Iterator[str]:
    """Yield the Markdown of who refuses what, and why."""
    refused = table[table["refused"] != ""]
    if refused.empty:
        return
    yield "\n## Refusals\n\n"
    for (machine, reason), rows in refused.groupby(["machine", "refused"], sort=False):
        which = ", ".join(f"{row.widths.upper()} {row.transform}" for row in rows.itertuples())
        yield f"- `{machine}` ({which}): {reason}\n"


def main() -> None:
    """Estimate and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--machines", nargs="+", default=list_hardware())
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--docs", type=Path, default=DOCS, help="folder of the page")
    options = parser.parse_args()
    table = hadamard_costs(load_model(MODEL, weights=False), options.machines, steps=options.steps)
    (options.docs / FIGURE).parent.mkdir(exist_ok=True)
    panels = [
        (f"{title}, {widths.upper()}", ratio_frame(table, widths, figure))
        for widths in WIDTHS
        for figure, _, _, _, title in FIGURES[:2]
    ]
    save_ratios(panels, options.docs / FIGURE)
    table.to_csv(options.docs / CSV, index=False, lineterminator="\n")
    text = "".join(summary(table))
    page = HEADER.format(model=MODEL, steps=options.steps, figure=FIGURE, summary=text)
    for sentences in findings(table):
        page += (
            textwrap.fill(sentences, 110, initial_indent="- ", subsequent_indent="  ", break_on_hyphens=False)
            + "\n"
        )
    page += "".join(tables(table)) + "".join(refusals(table))
    (options.docs / "HADAMARD_COST.md").write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
