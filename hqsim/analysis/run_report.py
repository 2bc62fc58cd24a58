"""The report of one run: verification, images, quality and cost brought into the page's own frames."""

from __future__ import annotations

import importlib.metadata
import platform
from typing import TYPE_CHECKING, Any

from hqsim.analysis.breakdown import machine_totals
from hqsim.analysis.quality import FEATURES
from hqsim.analysis.roofline import roofline_panel
from hqsim.cost import Estimate
from hqsim.report import ImageStrip, RunReport, VerdictCard

if TYPE_CHECKING:
    import pandas as pd

    from hqsim.quantize import QuantizedModel
    from hqsim.simulate import Samples, VerifyResult

SHOWN = 20
TITLES = {"float": "float", "fakequant": "fake-quant", "integer": "integer"}
COST_COLUMNS = ("cycles", "energy_pj", "dram_bytes", "utilization", "bound_by")


def run_report(
    qmodel: QuantizedModel,
    verification: VerifyResult,
    samples: dict[str, Samples],
    quality: pd.DataFrame,
    estimates: dict[str, Estimate],
) -> RunReport:
    """Return the page's data."""
    settings = verification.settings
    first = next(iter(samples.values()))
    return RunReport(
        title=f"{qmodel.model.name} · {qmodel.recipe.name}",
        subtitle=(
            f"{qmodel.recipe.description}. {settings.steps} DDIM steps, guidance {settings.guidance:g}, "
            f"seed {settings.seed}; verified on {len(settings.labels)} images"
        ),
        cards=_cards(verification, quality, estimates),
        images=tuple(
            ImageStrip(TITLES[name], result.codes[:SHOWN, 0], f"{len(result.codes)} images sampled")
            for name, result in samples.items()
        ),
        image_labels=tuple(str(label) for label in first.labels[:SHOWN]),
        step_layers=verification.step_layers,
        layers=_layer_table(verification, estimates),
        totals=machine_totals(estimates, images=1),
        rooflines=tuple(roofline_panel(result) for result in estimates.values()),
        quality=quality.replace({"executor": TITLES}),
        notes=_notes(verification, estimates),
        manifest=_manifest(qmodel, verification),
    )


def _cards(
    verification: VerifyResult, quality: pd.DataFrame, estimates: dict[str, Estimate]
) -> tuple[VerdictCard, ...]:
    cards = []
    for check in verification.checks():
        value, below = _split_value(check.value)
        cards.append(
            VerdictCard(
                title=check.name,
                value=value,
                status="pass" if check.passed else "fail" if check.required else "info",
                detail=f"{below}limit {check.limit}" + ("" if check.passed else ", not reached"),
            )
        )
    for row in quality.to_dict("records"):
        if row["executor"] != "fakequant":
            cards.append(
                VerdictCard(
                    title=f"images of the {TITLES[row['executor']]} model",
                    value=f"{100 * row['classifier_accuracy']:.1f} %",
                    status="info",
                    detail=f"classified as their label, of {row['images']}; Fréchet distance "
                    f"{row['frechet_distance']:.2f} ({FEATURES})",
                )
            )
    for name, result in estimates.items():
        run = result.total["run"]
        cards.append(
            VerdictCard(
                title=f"one image on {name}",
                value=f"{1e3 * run['latency_s']:.3g} ms",
                status="info",
                detail=f"{1e-9 * run['energy_pj']['total']:.3g} mJ, {run['dram_bytes'] / 1e6:.3g} MB DRAM, "
                f"bound by {result.total['bound_by']}",
            )
        )
    return tuple(cards)


def _split_value(value: str) -> tuple[str, str]:
    """Return the figure for large type, and what belongs below it: "0 of 12" is "0" and "of 12; "."""
    figure, mark, rest = value.partition(" of ")
    if mark:
        return figure, f"of {rest}; "
    figure, mark, rest = value.partition(" ± ")
    return (f"{figure} {rest.split()[-1]}", f"± {rest}; ") if mark else (value, "")


def _layer_table(verification: VerifyResult, estimates: dict[str, Estimate]) -> pd.DataFrame:
    layers = verification.layers
    for name, result in estimates.items():
        costs = result.layers.set_index("name")
        for column in COST_COLUMNS:
            layers[f"{column}[{name}]"] = layers["layer"].map(costs[column])
    return layers


def _notes(verification: VerifyResult, estimates: dict[str, Estimate]) -> tuple[str, ...]:
    layers = verification.layers
    notes = []
    wide = layers[layers["accumulator_bits"] > 32]
    if len(wide):
        notes.append(
            f"{len(wide)} layers cannot be proved safe in a 32-bit accumulator and take the wide path: "
            f"{', '.join(wide['layer'])}."
        )
    widest = layers.loc[layers["accumulator_bits"].idxmax()]
    notes.append(
        f"The widest proved accumulator is {widest['accumulator_bits']} bits ({widest['layer']}); the sums "
        f"observed there need {widest['observed_bits']}."
    )
    worst = layers.nsmallest(3, "sqnr_free_running_db")
    named = ", ".join(f"{row.layer} ({row.sqnr_free_running_db:.1f} dB)" for row in worst.itertuples())
    notes.append(f"Furthest from fake-quant in a free run, all steps together: {named}.")
    stored, multiplied = layers["storage_bits"].mode()[0], layers["multiplier_bits"].max()
    notes.append(
        f"Activations are stored in {stored} bits in most layers; the widest multiplier operand has "
        f"{multiplied} bits (the price of the single Hadamard)."
    )
    for name, result in estimates.items():
        share = result.total["assumed_energy_share"]
        if share > 0:
            notes.append(f"On {name}, {100 * share:.0f} % of the energy rests on assumed figures.")
    return tuple(notes)


def _manifest(qmodel: QuantizedModel, verification: VerifyResult) -> dict[str, Any]:
    settings = verification.settings
    packages = ("numpy", "torch", "numba", "diffusers", "pandas")
    return {
        "model": {"source": qmodel.model.source, "sha256": qmodel.model.digest},
        "recipe": qmodel.recipe.model_dump(mode="json"),
        "verification": {
            "images": len(settings.labels),
            "steps": settings.steps,
            "guidance": settings.guidance,
            "seed": settings.seed,
        },
        "versions": {
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in packages},
        },
    }
