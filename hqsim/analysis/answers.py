"""A comparison in words: which method at equal energy, which layers hurt, whether a single Hadamard pays."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hqsim.analysis.claims import UNDECIDED, comparison
from hqsim.analysis.sample_quality import figures_of
from hqsim.report import Answer
from hqsim.report.quantities import reading

if TYPE_CHECKING:
    import pandas as pd

    from hqsim.analysis.run_folder import Run

EQUAL_PERCENT = 5.0
"""Energies less than so many percent apart count as equal."""
WORST = 5
NAMED = 5
"""So many runs of equal energy are named, the best first."""
Row = Mapping[str, Any]


def answers(runs: Sequence[Run], table: pd.DataFrame) -> tuple[Answer, ...]:
    """Return an answer to every question that ``table`` (one row per run and machine) can answer.

    A lead counts as clear when the 95 % interval of the paired difference, the same images from the same
    noise, leaves out zero; without the images' figures, when the two intervals do not overlap.
    """
    judge = _Judge(runs)
    if table.empty or "sqnr_db" not in table:
        return tuple(_layers(runs, runs[0].name))
    known = table.dropna(subset=["sqnr_db"])
    best = str(known.loc[known["sqnr_db"].idxmax(), "run"]) if len(known) else runs[0].name
    priced = known.dropna(subset=["energy_pj", "latency_s"]) if "energy_pj" in known else known.iloc[:0]
    return (*_best(judge, priced), *_layers(runs, best), *_hadamard(judge, priced))


class _Judge:
    """Whether one run is better than another beyond what other images could change."""

    def __init__(self, runs: Sequence[Run]) -> None:
        figures = {run.name: figures_of(run.arrays, "integer") for run in runs}
        self._sqnr = {name: found["sqnr_db"] for name, found in figures.items() if "sqnr_db" in found}

    def lead(self, row: Row, other: Row) -> tuple[float, bool]:
        """Return by how many dB ``row`` leads ``other``, and whether that is clear."""
        lead_db = float(row["sqnr_db"] - other["sqnr_db"])
        ours, theirs = (self._sqnr.get(str(one["run"])) for one in (row, other))
        if ours is not None and theirs is not None and len(ours.draws) == len(theirs.draws):
            return lead_db, comparison(ours, theirs, "sqnr_db")[0] != UNDECIDED
        first, second = (row, other) if lead_db >= 0 else (other, row)
        ends = first.get("sqnr_low_db", math.nan), second.get("sqnr_high_db", math.nan)
        return lead_db, bool(ends[0] > ends[1])


def _best(judge: _Judge, table: pd.DataFrame) -> Iterator[Answer]:
    """Which method is best at equal energy, machine by machine."""
    said, grounds = [], []
    for machine, rows in table.groupby("machine", sort=False):
        ranked = rows.sort_values("sqnr_db", ascending=False, kind="stable").to_dict("records")
        best = ranked[0]
        equal = [row for row in ranked[1:] if abs(_percent(row, best, "energy_pj")) <= EQUAL_PERCENT]
        doubt = ""
        if equal and not judge.lead(best, equal[0])[1]:
            doubt = f", not clearly ahead of {equal[0]['run']}"
        said.append(f"{best['run']} on {machine} ({best['sqnr_db']:.1f} dB at {_energy(best)}{doubt})")
        cheaper = [row for row in ranked[1:] if _percent(row, best, "energy_pj") < -EQUAL_PERCENT]
        if equal:
            others = ", ".join(f"{row['run']} {row['sqnr_db']:.1f} dB" for row in equal[:NAMED])
            others += f" and {len(equal) - NAMED} more" if len(equal) > NAMED else ""
            grounds.append(
                f"{machine}, energy within {EQUAL_PERCENT:.0f} %: {others}. {_lead(judge, best, equal[0])}"
            )
        if cheaper:
            row = cheaper[0]
            grounds.append(
                f"{machine}, with less energy: {row['run']} is best ({row['sqnr_db']:.1f} dB), at "
                f"{-_percent(row, best, 'energy_pj'):.0f} % less. {_lead(judge, best, row)}"
            )
        if len(ranked) > 1 and not cheaper:
            dear = len(ranked) - 1 - len(equal)
            grounds.append(
                f"{machine}: no run costs less energy by more than {EQUAL_PERCENT:.0f} %"
                + (
                    f"; {dear} cost{'' if dear > 1 else 's'} more and give{'' if dear > 1 else 's'} less."
                    if dear
                    else "."
                )
            )
    if said:
        yield Answer("Which method is best at equal energy?", "; ".join(said) + ".", tuple(grounds))


def _layers(runs: Sequence[Run], best: str) -> Iterator[Answer]:
    """Which layers hurt most, in the best run and over all runs."""
    worst = {
        run.name: run.sensitivity.nlargest(WORST, "share_percent")
        for run in runs
        if not run.sensitivity.empty
    }
    if not worst:
        return
    chosen = best if best in worst else next(iter(worst))
    texts = {
        name: ", ".join(f"{row.layer} ({row.share_percent:.0f} %)" for row in frame.itertuples())
        for name, frame in worst.items()
    }
    counts = Counter(str(layer) for frame in worst.values() for layer in frame["layer"])
    grounds = [f"{name}: {text}." for name, text in texts.items() if name != chosen]
    if len(worst) > 1:
        always = [layer for layer, count in counts.items() if count == len(worst)]
        grounds.insert(0, f"Among the worst {WORST} of every run: {', '.join(always) or 'none'}.")
    grounds.append("Share of the noise error with one layer quantized at a time.")
    yield Answer(f"Which {WORST} layers hurt most?", f"In {chosen}: {texts[chosen]}.", tuple(grounds))


def _hadamard(judge: _Judge, table: pd.DataFrame) -> Iterator[Answer]:
    """Whether the best single Hadamard is worth its wider multiplier, beside the best run without one."""
    said, grounds = [], []
    for machine, rows in table.groupby("machine", sort=False):
        single = _best_of(rows[rows["transform"] == "single"])
        if single is None:
            continue
        same = rows
        for name in ("weight_bits", "activation_bits"):
            same = same[same[name] == single[name]] if name in same else same
        plain, double = (_best_of(same[same["transform"] == kind]) for kind in ("none", "double"))
        if plain is None:
            continue
        lead_db, clear = judge.lead(single, plain)
        price = f"{round(_percent(single, plain, 'energy_pj')):+d} % energy and "
        price += f"{round(_percent(single, plain, 'latency_s')):+d} % latency"
        verdict = ("yes" if lead_db > 0 else "no") if clear else "not decided by these images"
        said.append(f"on {machine} {verdict}: {lead_db:+.1f} dB for {price}")
        widths = ""
        if "multiplier_bits_mean" in rows:
            widths = (
                f"; the operand at the multiplier has {single['multiplier_bits_mean']:.1f} bits on average "
                f"instead of {plain['multiplier_bits_mean']:.1f}"
            )
        grounds.append(f"{machine}: {single['run']} beside {plain['run']}, the best without{widths}.")
        if double is not None:
            grounds.append(
                f"{machine}: the double Hadamard ({double['run']}) gives {double['sqnr_db']:.1f} dB at "
                f"{round(_percent(double, single, 'energy_pj')):+d} % energy beside the single. "
                f"{_lead(judge, single, double)}"
            )
    if said:
        text = "; ".join(said)
        yield Answer(
            "Is the single Hadamard worth its wider multiplier here?",
            f"{text[0].upper()}{text[1:]}.",
            tuple(grounds),
        )


def _best_of(rows: pd.DataFrame) -> Row | None:
    if rows.empty:
        return None
    found: Row = rows.loc[rows["sqnr_db"].idxmax()].to_dict()
    return found


def _lead(judge: _Judge, row: Row, other: Row) -> str:
    row, other = sorted((row, other), key=lambda one: float(one["sqnr_db"]), reverse=True)
    lead_db, clear = judge.lead(row, other)
    certain = "clear" if clear else "within what other images could change"
    return f"The lead of {row['run']} over {other['run']}, {lead_db:.1f} dB, is {certain}."


def _percent(row: Row, reference: Row, column: str) -> float:
    return 100.0 * (float(row[column]) / float(reference[column]) - 1.0)


def _energy(row: Row) -> str:
    return f"{reading(row['energy_pj'], 'pj')} per image"
