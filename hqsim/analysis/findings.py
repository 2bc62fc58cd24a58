"""Findings of a run in words: small rules, each a pure function of the run, silent where it does not apply.

Rules about machines stand in ``machine_findings.py``. A rule's limit says from where on it speaks, and
it names the layers that it speaks of.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from hqsim.analysis.machine_findings import MACHINE_RULES
from hqsim.analysis.ranking import worsened, worst_channels
from hqsim.analysis.run_charts import NONE, RECIPE, usual_bits
from hqsim.report import Finding

if TYPE_CHECKING:
    import pandas as pd

    from hqsim.analysis.run_folder import Run

Rule = Callable[["Run"], Iterator[Finding]]

INT32_BITS = 32
HURT_DB = 0.5
BETTER_DB = 1.0
EDGE_PERCENT, FEW_PERCENT, FEW = 20.0, 50.0, 5
CLIPPED_PERCENT, SATURATED_PERCENT = 1.0, 1.0
CHANNEL_TIMES = 10.0
STEP_DB = 6.0


def findings(run: Run) -> tuple[Finding, ...]:
    """Return what every rule finds in ``run``, in the order of ``RULES``."""
    return tuple(found for rule in RULES for found in rule(run))


def wide_accumulator(run: Run) -> Iterator[Finding]:
    """Speak of layers whose sums are not proved to fit 32 bits."""
    if "accumulator_bits" not in run.layers:
        return
    wide = run.layers[run.layers["accumulator_bits"] > INT32_BITS]
    if wide.empty:
        return
    bits = int(wide["accumulator_bits"].max())
    yield Finding(
        "wide_accumulator",
        f"An accumulator of {bits} bits is needed: {_count(len(wide), 'layer')} cannot be proved safe in 32.",
        "The bound takes every operand code at its worst against the weights' codes.",
        "fewer bits or a lower order of the transform in these layers, or a machine that adds in 48 bits.",
        _names(wide),
    )


def dominant_edge(run: Run) -> Iterator[Finding]:
    """Speak of a first or last layer that causes much of the final error."""
    shares = _shares(run)
    if len(shares) < FEW:
        return
    for layer, place in ((shares.index[0], "first"), (shares.index[-1], "last")):
        if shares[layer] >= EDGE_PERCENT:
            yield Finding(
                "dominant_edge",
                f"The {place} layer dominates the error: {shares[layer]:.0f} % of it come from {layer}.",
                "It sees the sample itself, or makes the noise directly, and nothing evens its error out.",
                "8 bits for this layer; it holds few of the products, so it costs little.",
                (layer,),
            )


def few_layers(run: Run) -> Iterator[Finding]:
    """Speak of the layers that together cause half of the final error, where they are few."""
    shares = _shares(run)
    if len(shares) <= 2 * FEW:
        return
    worst = shares.nlargest(FEW)
    if worst.sum() >= FEW_PERCENT:
        yield Finding(
            "few_layers",
            f"{FEW} of {len(shares)} layers cause {worst.sum():.0f} % of the final error.",
            "Noise power of the predicted noise with one layer quantized at a time, over the sum of all.",
            "more bits, training or another transform in these layers first.",
            tuple(worst.index),
        )


def transform_hurts(run: Run) -> Iterator[Finding]:
    """Speak of layers that the recipe's transform makes harder to quantize."""
    yield from _worse(
        run,
        RECIPE,
        "transform_hurts",
        "The recipe's transform hurts {count}: their codes lose up to {loss:.1f} dB against no transform.",
        "leave the transform out in these layers, take another axis, or random signs.",
    )


def width_gathers(run: Run) -> Iterator[Finding]:
    """Speak of layers that a plain transform along the width would harm, where the recipe has none."""
    yield from _worse(
        run,
        "width-k5",
        "width_gathers",
        "A Hadamard along the width without signs would hurt {count}, by up to {loss:.1f} dB.",
        "do not add it there; along channels, or with signs, no such coefficient arises.",
        unless_recipe_is_width=True,
    )


def better_transform(run: Run) -> Iterator[Finding]:
    """Speak of layers for which another measured transform beats the recipe's."""
    means = _mean_sqnr(run)
    if means.empty or RECIPE not in means:
        return
    others = means.drop(columns=[RECIPE, NONE], errors="ignore")
    if others.empty:
        return
    gain = (others.max(axis=1) - means[RECIPE]).dropna()
    gain = gain[gain >= BETTER_DB].sort_values(ascending=False, kind="stable")
    if gain.empty:
        return
    usual = others.loc[gain.index].idxmax(axis=1).mode()[0]
    yield Finding(
        "better_transform",
        f"Another transform suits {_count(len(gain), 'layer')} better, by up to {gain.iloc[0]:.1f} dB; "
        f"most often {usual}.",
        f"{usual_bits(run)}-bit codes with the best clip keep more of the operand under it.",
        "compare a recipe with that transform; the wider multiplier is priced in the comparison.",
        tuple(gain.index),
    )


def outlier_channel(run: Run) -> Iterator[Finding]:
    """Speak of single channels far larger than the others of their operand."""
    worst = worst_channels(run.arrays) if run.arrays else None
    if worst is None or worst.empty:
        return
    worst = worst[worst["times_median"] >= CHANNEL_TIMES]
    if worst.empty:
        return
    first = worst.iloc[0]
    yield Finding(
        "outlier_channel",
        f"Single channels stand out, the worst by {first['times_median']:.0f} times the median: "
        f"channel {first['channel']} of {first['layer']}.",
        "One scale serves all channels of an operand, so the largest one decides how coarse the others are.",
        "a transform along channels, which spreads the outlier over its block.",
        _names(worst),
    )


def clipped(run: Run) -> Iterator[Finding]:
    """Speak of operands whose codes cut off many values."""
    part = run.activations
    if part.empty:
        return
    percent = part[part["transform"] == RECIPE].groupby("layer", sort=False)["clipped_percent"].mean()
    percent = percent[percent >= CLIPPED_PERCENT].sort_values(ascending=False, kind="stable")
    if not percent.empty:
        yield Finding(
            "clipped",
            f"More than {CLIPPED_PERCENT:.0f} % of the values are clipped in "
            f"{_count(len(percent), 'layer')}, up to {percent.iloc[0]:.1f} %.",
            "The scale was learned or calibrated to spend its codes on the middle of the distribution.",
            "calibrate on more images or timesteps; where the error is small all the same, nothing.",
            tuple(str(layer) for layer in percent.index),
        )


def saturated(run: Run) -> Iterator[Finding]:
    """Speak of operands whose codes often stand at an end of their range in the integer run."""
    if run.codes.empty:
        return
    percent = run.codes.groupby("layer", sort=False)["saturated_percent"].mean()
    percent = percent[percent >= SATURATED_PERCENT].sort_values(ascending=False, kind="stable")
    if not percent.empty:
        yield Finding(
            "saturated",
            f"More than {SATURATED_PERCENT:.0f} % of the operand codes are saturated in "
            f"{_count(len(percent), 'layer')}, up to {percent.iloc[0]:.1f} %.",
            "The sample leaves the range that calibration saw.",
            "calibrate on the model's own free-running samples, or widen the clip of these layers.",
            tuple(str(layer) for layer in percent.index),
        )


def unused_range(run: Run) -> Iterator[Finding]:
    """Speak of signed operands whose codes never leave half of their range: a bit is wasted."""
    if run.codes.empty or "storage_bits" not in run.layers:
        return
    first = run.codes[run.codes["operand"].astype(int) == 0].groupby("layer", sort=False)
    reach = np.maximum(first["highest"].max(), -first["lowest"].min() - 1)
    signed = first["lowest"].min() < 0
    half = 2.0 ** (run.layers.set_index("layer")["storage_bits"].reindex(reach.index).astype(float) - 2)
    wasted = reach[signed & (reach < half)]
    if not wasted.empty:
        yield Finding(
            "unused_range",
            f"The upper half of the codes is never used in {_count(len(wasted), 'layer')}.",
            "One bit of the stored operand is always the sign's copy.",
            "a smaller scale for these operands, or one bit less.",
            tuple(str(layer) for layer in wasted.index),
        )


def unused_scales(run: Run) -> Iterator[Finding]:
    """Speak of entries of timestep tables that the measured run never reads."""
    measured = next((frame for frame in (run.codes, run.activations, run.errors) if not frame.empty), None)
    if measured is None or "scale_entries" not in run.layers:
        return
    steps = measured["step"].nunique()
    idle = run.layers[run.layers["scale_entries"] > steps]
    if not idle.empty:
        entries = int(idle["scale_entries"].max())
        yield Finding(
            "unused_scales",
            f"Scale tables hold {entries} entries, of which a run of {steps} steps reads {steps} at most.",
            "A run with other steps takes the nearest calibrated timestep.",
            "calibrate for the steps that will be run; the tables then shrink.",
            _names(idle) if len(idle) < len(run.layers) else (),
        )


def bad_timestep(run: Run) -> Iterator[Finding]:
    """Speak of a step at which the predicted noise is far worse than at most others."""
    if run.growth.empty:
        return
    sqnr_db = run.growth["noise_sqnr_db"].to_numpy(dtype=np.float64)
    finite = sqnr_db[np.isfinite(sqnr_db)]
    if finite.size < 3:
        return
    gap = float(np.median(finite) - finite.min())
    if gap >= STEP_DB:
        row = run.growth.iloc[int(np.flatnonzero(sqnr_db == finite.min())[0])]
        yield Finding(
            "bad_timestep",
            f"Timestep {row['timestep']:.0f} (step {row['step']:.0f}) is {gap:.1f} dB worse than the median.",
            "The predicted noise, teacher-forced: this is the step's own error, not one that it inherits.",
            "scales per timestep, or more calibration samples at this one.",
        )


RULES: Sequence[Rule] = (
    wide_accumulator,
    dominant_edge,
    few_layers,
    transform_hurts,
    better_transform,
    width_gathers,
    outlier_channel,
    clipped,
    saturated,
    unused_range,
    bad_timestep,
    unused_scales,
    *MACHINE_RULES,
)


def _worse(
    run: Run, transform: str, rule: str, text: str, suggestion: str, *, unless_recipe_is_width: bool = False
) -> Iterator[Finding]:
    worse = worsened(run.activations, bits=usual_bits(run), by_db=HURT_DB)
    worse = worse[worse["transform"] == transform]
    if unless_recipe_is_width and "transform" in run.layers:
        width = run.layers[run.layers["transform"].str.contains("width")]["layer"]
        worse = worse[~worse["layer"].isin(width)]
    if worse.empty:
        return
    names = tuple(dict.fromkeys(worse["layer"].astype(str)))
    first = worse.iloc[0]
    yield Finding(
        rule,
        text.format(count=_count(len(names), "layer"), loss=-first["change_db"]),
        f"Smooth or constant blocks gather in one coefficient: the crest of {first['layer']} goes from "
        f"{first['crest_before']:.1f} to {first['crest_after']:.1f}.",
        suggestion,
        names,
    )


def _mean_sqnr(run: Run) -> pd.DataFrame:
    """SQNR of the usual codes by layer (rows) and transform (columns), the first operand, mean over steps."""
    column = f"sqnr_{usual_bits(run)}bit_db"
    if run.activations.empty or column not in run.activations:
        return run.activations.iloc[:0]
    first = run.activations[run.activations["operand"].astype(int) == 0]
    finite = first[np.isfinite(first[column])]
    return finite.pivot_table(index="layer", columns="transform", values=column, aggfunc="mean", sort=False)


def _shares(run: Run) -> pd.Series:
    """Shares of the final error in percent by layer, in execution order."""
    import pandas as pd

    if run.sensitivity.empty:
        return pd.Series(dtype=float)
    return run.sensitivity.set_index("layer")["share_percent"].dropna()


def _names(frame: pd.DataFrame) -> tuple[str, ...]:
    return tuple(dict.fromkeys(frame["layer"].astype(str)))


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
