"""Write docs/VALIDATION.md: ``python -m benchmarks.validation``, about a minute.

The section on the host CPU comes from ``docs/validation-host-cpu.csv``, which
``python -m benchmarks.validation.host_cpu`` measures.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from benchmarks.validation import a100, bitfusion, eyeriss, host_cpu, macs, scalesim, tpu_v1

PAGE = Path(__file__).resolve().parents[2] / "docs" / "VALIDATION.md"

HEADER = """# The cost model beside published and measured figures

Written by `python -m benchmarks.validation`; one comparison alone by `python -m benchmarks.validation.NAME`,
the names at the headings. Errors are the model's figure less the published one, in percent of that. The tests
keep the figures near what stands here (`tests/cost/test_validation.py`, `tests/cost/test_scalesim.py`).

"""

#: What holds on random machines and networks, by the test in tests/cost/test_cost_properties.py that says so.
PROPERTIES = {
    "cycles_cover_the_work_and_the_bytes": "cycles are at least MACs over peak, and bytes over bandwidth at "
    "each memory; no part of the time is negative",
    "more_bandwidth_is_never_slower": "more bandwidth of any memory is never slower",
    "a_larger_memory_is_never_slower": "a larger memory is never slower, realised as lowered",
    "more_cells_never_more_folds": "more cells never take more folds",
    "layers_and_parts_sum_to_the_totals": "layers sum to the totals, and so do the parts of the energy",
    "traffic_is_at_least_compulsory": "traffic with DRAM is at least compulsory",
    "the_choice_is_the_fastest_realisation": "the realisation that is chosen is the fastest",
    "wider_operands_are_never_cheaper": "wider operands never take fewer cycles",
    "a_mapping_given_back_gives_the_same_costs": "the mapping that an estimate chose, given back, is "
    "accepted and costs the same, layer by layer",
    "layers_of_one_shape_cost_the_same_as_each_alone": "layers of one shape cost what each costs alone",
}


def cell(value: object) -> str:
    """Return a value as a table shows it: numbers with four digits, nothing for what is missing."""
    if isinstance(value, float):
        return "" if value != value else f"{value:.4g}" if abs(value) < 1e4 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def markdown(table: pd.DataFrame, **names: str) -> str:
    """Return a table as Markdown, numbers to the right; ``names`` are the headings, in their order."""
    part = table[list(names)]
    right = ["---:" if pd.api.types.is_numeric_dtype(part[column]) else "---" for column in part]
    rows = [" | ".join(cell(value) for value in row) for row in part.itertuples(index=False)]
    head = f"| {' | '.join(names.values())} |\n|{'|'.join(right)}|\n"
    return head + "".join(f"| {row} |\n" for row in rows) + "\n"


def told(text: str) -> str:
    """Return a paragraph of the page."""
    return textwrap.fill(text, 110, break_on_hyphens=False) + "\n\n"


def errors(table: pd.DataFrame) -> str:
    """Say mean and worst error of a table."""
    percent = table["error_percent"]
    worst = percent.loc[percent.abs().idxmax()]
    return f"mean error {percent.abs().mean():.1f} %, worst {worst:+.1f} %"


def scalesim_section() -> Iterator[str]:
    """SCALE-Sim, exactly."""
    table = scalesim.compare()
    runs, columns = len(table) // table["quantity"].nunique(), table["quantity"].nunique()
    exact = (table["error_percent"].abs() < 1e-9).sum()
    yield "## SCALE-Sim 3.0.0 (`scalesim`)\n\n"
    yield told(
        f"`scalesim_report` on {runs} runs of the tool (sweeps over shapes, arrays and dataflows, and the "
        f"layers of LDM-4 on 32 x 32 cells): {exact} of {len(table)} figures in {columns} columns are the "
        "same, to the last digits of a double. The tool's own faults are part of the report and of nothing "
        "else."
    )


def bitfusion_section() -> Iterator[str]:
    """BitFusion's rule."""
    table = bitfusion.compare()
    exact = (table["modelled"] == table["published"]).sum()
    yield "## BitFusion's cycle rule (`bitfusion`)\n\n"
    yield told(
        f"Compute cycles of {len(table)} layers of its public simulator on 16 x 32 fusion units, operands of "
        f"2 to 8 bits: {exact} are the same, {errors(table)}."
    )


def eyeriss_section() -> Iterator[str]:
    """Eyeriss on AlexNet."""
    table = eyeriss.compare()
    yield "## Eyeriss v1 on AlexNet (`eyeriss`)\n\n"
    yield told(
        "Chen et al., JSSC 52(1), 2017: convolutions of four images. The figures of its tables III and V, "
        "which are images in the paper, were compared with a second reading of them (cucapra/fodlam, `raw/` "
        "and `data/eyeriss-alexnet.csv`). All are the same but one: CONV3's processing time is 21.3 ms "
        "there, with which the rows miss the total of 103.5 ms by 0.5; with 21.8 ms they add up. The mapping "
        "is the published one, *own mapping* the one that the model chooses."
    )
    names = {
        "quantity": "All layers",
        "published": "Published",
        "modelled": "Modelled",
        "error_percent": "Error, %",
    }
    yield markdown(table[table["layer"] == "all"], **names)
    layers = table[table["layer"] != "all"]
    wide = layers.pivot(index="quantity", columns="layer", values="error_percent").reset_index()
    yield markdown(wide, **{"quantity": "Error, %"}, **{layer.name: layer.name for layer in eyeriss.LAYERS})
    yield told(
        "Processing time is off in both directions. The model charges filter loads and first windows of "
        "every pass in full, which shows most in the small late layers; what the chip waits for otherwise it "
        "does not know, and the first layers come out too fast. CONV3's measured buffer accesses are those "
        "of six channels in a pass and t = 2, as the model itself chooses, not of the mapping that the paper "
        "prints. "
        "Zeros of a layer's output are taken from the next layer's input, behind pooling: the error of DRAM "
        "traffic layer by layer."
    )


def tpu_section() -> Iterator[str]:
    """TPU v1's roofline."""
    yield "## TPU v1's roofline (`tpu_v1`)\n\n"
    yield told(
        "Jouppi et al., ISCA 2017: peak, ridge and six applications (two operations per MAC, MACs per byte "
        "of weight)."
    )
    names = {
        "quantity": "Quantity",
        "published": "Published",
        "modelled": "Modelled",
        "error_percent": "Error, %",
    }
    yield markdown(tpu_v1.compare(), **names)
    yield told(
        "A roofline is an upper bound, and the measured applications lie below it. LSTM1 and CNN1 lie far "
        "below: the paper explains them by matrices that fill the 256 x 256 array badly and by waits for "
        "weights and inputs. These errors tell how much a roofline leaves out, not how well the cycle model "
        "predicts these layers, whose shapes are not published."
    )


def a100_section() -> Iterator[str]:
    """Measured products of an A100."""
    table, fitted = a100.compare(), a100.fitted_launch_s()
    yield "## A100, measured products (`a100`)\n\n"
    yield told(
        f"{len(table)} half-precision products on a card of 80 GB (the smallest needs more than the 1.555 "
        "TB/s of the 40 GB card). With the launch of 21 us that is published for this card: "
        f"{errors(table)}. With a launch of {fitted * 1e6:.0f} us, fitted to these very rows: "
        f"{errors(a100.compare(fitted))}."
    )
    names = {"m": "M", "k": "K", "n": "N", "published": "Measured, ms", "modelled": "Modelled, ms"}
    yield markdown(table, **names, error_percent="Error, %")
    yield told(
        "Every figure of the model is too low: it knows no stalls within a tile, no clock below boost, and "
        "a launch that does not grow with the product."
    )


def macs_section() -> Iterator[str]:
    """Multiply-accumulates."""
    table = macs.compare()
    yield "## Multiply-accumulates (`macs`)\n\n"
    yield told(
        "MACs of every built-in model against half of what torch's FLOP counter counts; then convolutions "
        "and linear layers of the three UNets of latent diffusion against the published lists, in total and "
        "layer by layer."
    )
    names = {"model": "Model", "quantity": "Quantity", "published": "Published", "modelled": "Modelled"}
    yield markdown(table, **names, error_percent="Error, %")


def host_section() -> Iterator[str]:
    """This package's kernels."""
    yield "## Host CPU (`host_cpu`)\n\n"
    if not host_cpu.CSV.exists():
        yield told(
            "Not measured for this page. `python -m benchmarks.validation.host_cpu` predicts the time of "
            "every layer of an LDM-4 step by `host-cpu.yaml`, measures it, and writes "
            "`docs/validation-host-cpu.csv`."
        )
        return
    table = host_cpu.summary(pd.read_csv(host_cpu.CSV))
    every = table.iloc[-1]
    yield told(
        f"One step of `{host_cpu.MODEL}` ({host_cpu.RECIPE}), integer kernels: every node timed in the "
        f"executor, the median of several steps, against `host-cpu.yaml`. {every['large']:.0f} of "
        f"{every['layers']:.0f} layers take longer than {host_cpu.SMALL:g} launches of their kind: mean "
        f"error {every['mean_percent']:.1f} %, worst {every['worst_percent']:.1f} %. The small ones are off "
        f"by {every['small_mean_ms']:.3f} ms in the mean. All together: predicted "
        f"{every['predicted_ms']:.0f} ms, measured {every['measured_ms']:.0f} ms "
        f"({100 * (every['predicted_ms'] / every['measured_ms'] - 1):+.1f} %)."
    )
    names = {
        "op": "Operator",
        "layers": "Layers",
        "measured_ms": "Measured, ms",
        "predicted_ms": "Predicted, ms",
        "large": "Large layers",
        "mean_percent": "Mean error, %",
        "worst_percent": "Worst, %",
        "small_mean_ms": "Small: mean error, ms",
    }
    yield markdown(table, **names)


def properties_section() -> Iterator[str]:
    """What always holds."""
    yield "## What always holds\n\n"
    yield told("On random machines of every kind of unit and on random networks (Hypothesis):")
    for test, sentence in PROPERTIES.items():
        yield (
            textwrap.fill(
                f"- {sentence} (`test_{test}`)", 110, subsequent_indent="  ", break_on_hyphens=False
            )
            + "\n"
        )


def main() -> None:
    """Compare and write."""
    sections = (
        scalesim_section,
        eyeriss_section,
        tpu_section,
        bitfusion_section,
        a100_section,
        macs_section,
        host_section,
        properties_section,
    )
    PAGE.write_text(HEADER + "".join(part for section in sections for part in section()), encoding="utf-8")
    print(f"wrote {PAGE}")


if __name__ == "__main__":
    main()
