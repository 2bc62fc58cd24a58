"""Verify recipes on the trained ``digits`` and write docs/VERIFICATION.md.

Run ``python benchmarks/verification.py``.

For every recipe: 20 guided steps and 8 images against the exact executor and fake-quant, then images of the
integer executor for quality. About three minutes a recipe on two cores.
"""

from __future__ import annotations

import argparse
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

import hqsim
from hqsim.analysis.quality import FEATURES, accuracy, frechet_to_digits
from hqsim.models import Model
from hqsim.simulate.metrics import closeness_db, sqnr_db

RECIPES = ("hqdm-channel-w4a4", "hqdm-channel-w8a8", "hqdm-w4a4", "hqdm-w8a8", "ptq-w4a4")
STEPS, VERIFIED, SAMPLED = 20, 8, 100
PAGE = Path(__file__).parent.parent / "docs" / "VERIFICATION.md"

HEADER = """# Verification of `digits`

Written by `python benchmarks/verification.py`: {steps} DDIM steps, guidance {guidance:g}, seed 0;
{verified} images compared, {sampled} sampled. {versions}. What the figures mean, and why free runs need a
control, is said in [NUMERICS.md](NUMERICS.md), section 7. No recipe here is trained: all scales are
calibrated.

"""


def measure(model: Model, recipe: str, reference: hqsim.Samples) -> dict[str, Any]:
    """Return every figure of one recipe."""
    qmodel = hqsim.quantize(model, recipe, seed=0, steps=STEPS)
    result = hqsim.verify(qmodel, steps=STEPS, images=VERIFIED, seed=0)
    samples, fake = (
        hqsim.simulate(qmodel, executor=name, images=SAMPLED, steps=STEPS, seed=0)
        for name in ("integer", "fakequant")
    )
    record = result.to_json()
    closeness, error = closeness_db(reference.latents, samples.latents, fake.latents)
    return {
        **record,
        "widest_accumulator": int(result.layers["accumulator_bits"].max()),
        "widest_observed": int(result.layers["observed_bits"].max()),
        "carriers_saturated": int(result.layers["saturated_carriers"].sum()),
        "accuracy": accuracy(samples.codes, samples.labels),
        "frechet": frechet_to_digits(samples.codes),
        "closeness_sampled_db": closeness,
        "closeness_sampled_error_db": error,
        "image_sqnr_db": sqnr_db(reference.latents, samples.latents),
    }


def tables(rows: dict[str, dict[str, Any]]) -> str:
    """Return the page's tables, one column per recipe."""
    lines: dict[str, list[tuple[str, str]]] = {
        "Integer against exact": [
            ("codes compared", "{codes_compared:,}"),
            ("codes that differ (0)", "{mismatches}"),
            ("nodes", "{nodes}"),
            ("widest accumulator, proved / observed (bits)", "{widest_accumulator} / {widest_observed}"),
            ("saturated carrier codes of matrix layers", "{carriers_saturated:,}"),
        ],
        "Teacher-forced against fake-quant": [
            ("operand codes off (0.1 % at 4 bits, 1.5 % at 8)", "{operand_mismatch_percent:.3f} %"),
            ("largest difference (1 LSB)", "{max_lsb}"),
            ("sums times scale against float64 product (1e-12)", "{product_error:.1e}"),
        ],
        "Free-running, SQNR of the final sample in dB": [
            ("integer against float", "{sqnr_db[integer_against_float]:.2f}"),
            ("fake-quant against float", "{sqnr_db[fakequant_against_float]:.2f}"),
            ("difference (at least -0.5)", "{closeness_db:+.2f} ± {closeness_standard_error_db:.2f}"),
            (
                f"the same on {SAMPLED} images",
                "{closeness_sampled_db:+.2f} ± {closeness_sampled_error_db:.2f}",
            ),
            ("integer against fake-quant", "{sqnr_db[integer_against_fakequant]:.2f}"),
            ("control: float32 against float64", "{sqnr_db[control_float32_against_float64]:.2f}"),
            ("beyond the control (at most 6)", "{gap:+.2f}"),
        ],
        f"Images of the integer executor ({SAMPLED}; {FEATURES})": [
            ("classified as their label", "{accuracy:.1%}"),
            ("Fréchet distance to real digits", "{frechet:.2f}"),
            ("SQNR against the float model's images (dB)", "{image_sqnr_db:.2f}"),
        ],
    }
    text = ""
    for title, figures in lines.items():
        text += f"## {title}\n\n| Figure | {' | '.join(rows)} |\n|---|{'---:|' * len(rows)}\n"
        for name, form in figures:
            text += f"| {name} | {' | '.join(form.format(**row) for row in rows.values())} |\n"
        text += "\n"
    return text.rstrip() + "\n"


def main() -> None:
    """Measure every recipe and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipes", nargs="+", default=RECIPES)
    parser.add_argument("--out", type=Path, default=PAGE)
    options = parser.parse_args()
    model = hqsim.load_model("digits")
    any_recipe = hqsim.quantize(model, "ptq-w8a8", steps=1, images=1)
    reference = hqsim.simulate(any_recipe, executor="float", images=SAMPLED, steps=STEPS, seed=0)
    rows = {}
    for recipe in options.recipes:
        row = measure(model, recipe, reference)
        final = row["sqnr_db"]
        row["gap"] = final["control_float32_against_float64"] - final["integer_against_fakequant"]
        rows[recipe] = row
        print(
            f"{recipe}: {row['mismatches']} mismatches, closeness {row['closeness_db']:+.2f}, "
            f"{row['closeness_sampled_db']:+.2f} on {SAMPLED}",
            flush=True,
        )
    names = ("torch", "numba", "numpy")
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in names)
    header = HEADER.format(
        steps=STEPS,
        guidance=model.guidance,
        verified=VERIFIED,
        sampled=SAMPLED,
        versions=f"Python {platform.python_version()}, {versions}",
    )
    options.out.write_text(header + tables(rows), encoding="utf-8")


if __name__ == "__main__":
    main()
