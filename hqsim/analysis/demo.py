"""``hqsim demo``: the main job on the embedded model, from float weights to a verified, costed report."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hqsim.analysis.breakdown import machine_totals
from hqsim.analysis.estimate import estimate
from hqsim.analysis.quality import FEATURES
from hqsim.analysis.run_folder import Run
from hqsim.analysis.run_report import page_of
from hqsim.analysis.sample_quality import EXECUTORS, FLOAT, SampleQuality, judged
from hqsim.cost import Estimate
from hqsim.io import new_folder, write_manifest
from hqsim.report import VerdictCard, write_report

if TYPE_CHECKING:
    import pandas as pd

    from hqsim.quantize import QuantizedModel
    from hqsim.simulate import VerifyResult

MODEL = "digits"
MACHINES = ("edge-npu-16x16", "tpu-v4i")
STEPS = 20
VERIFY_IMAGES = 8
COMPARED = (FLOAT, *EXECUTORS)
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, kw_only=True)
class DemoResult:
    """The demo's verdict, figures and page."""

    verification: VerifyResult
    quality: pd.DataFrame
    estimates: dict[str, Estimate]
    images: int
    page: Path

    @property
    def passed(self) -> bool:
        """Whether every integer code equals the exact executor's, and every layer matches fake-quant."""
        return self.verification.passed

    def summary(self) -> list[tuple[str, str]]:
        """Return lines for a terminal."""
        rows = [("verdict", "verified" if self.passed else "NOT VERIFIED"), *self.verification.summary()]
        for row in self.quality.to_dict("records"):
            figures = (
                f"classifier accuracy {100 * row['classifier_accuracy']:.1f} %, Fréchet distance "
                f"{row['frechet_distance']:.2f}"
            )
            rows.append((f"{row['executor']} ({self.images} images)", figures))
        for name, result in self.estimates.items():
            run = result.total["run"]
            latency_ms, energy_mj = 1e3 * run["latency_s"], 1e-9 * run["energy_pj"]["total"]
            rows.append((name, f"{latency_ms:.3g} ms and {energy_mj:.3g} mJ per image"))
        return rows

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "passed": self.passed,
            "page": str(self.page),
            "images": self.images,
            "features": FEATURES,
            "verify": self.verification.to_json(),
            "quality": self.quality.to_dict("records"),
            "estimates": {name: result.to_json()["total"] for name, result in self.estimates.items()},
        }


def run_demo(
    out: str | Path,
    *,
    recipe: str = "hqdm-channel-w4a4",
    images: int = 100,
    seed: int = 0,
    progress: Progress | None = None,
) -> DemoResult:
    """Quantize ``digits``, verify it, sample with three executors, cost it, and write the report.

    Where a trained model of the recipe ships, it is the one.

    Parameters
    ----------
    out
        A new or empty folder for the page and its CSVs.
    recipe
        How to quantize.
    images
        Images behind the quality figures (the same noise for every executor).
    """
    from hqsim.models import load_model
    from hqsim.quantize import load_quantized, load_recipe, quantize
    from hqsim.quantize.shipped import shipped
    from hqsim.simulate import simulate, verify

    report = progress or (lambda *_: None)
    wanted = load_recipe(recipe)
    trained = shipped(MODEL, wanted)
    with new_folder(Path(out)) as folder:
        if trained is not None:
            qmodel = load_quantized(trained)
        else:
            qmodel = quantize(load_model(MODEL), wanted, seed=seed, steps=STEPS, progress=report)
        verification = verify(qmodel, steps=STEPS, images=VERIFY_IMAGES, seed=seed, progress=report)
        samples = {
            name: simulate(
                qmodel,
                executor=name,
                images=images,
                steps=STEPS,
                seed=seed,
                progress=_labelled(report, f"sample ({name})"),
            )
            for name in COMPARED
        }
        quality = judged(samples, digits=True, features=False)
        estimates = {name: estimate(qmodel, name, steps=STEPS) for name in MACHINES}
        run = demo_run(qmodel, verification, quality, estimates)
        page = write_report(page_of([run], cards={run.name: check_cards(verification)}), folder)
        _save_numbers(folder, qmodel, seed)
    return DemoResult(
        verification=verification,
        quality=quality.table,
        estimates=estimates,
        images=images,
        page=Path(out) / page.name,
    )


def _labelled(report: Progress, label: str) -> Progress:
    """Report progress under a label of the demo's own."""
    return lambda _, done, total: report(label, done, total)


def demo_run(
    qmodel: QuantizedModel,
    verification: VerifyResult,
    quality: SampleQuality,
    estimates: dict[str, Estimate],
) -> Run:
    """Return what the demo measured as a run; outliers and sensitivities are left to ``hqsim trace``."""
    import pandas as pd

    from hqsim.analysis.layer_table import layer_table

    settings = verification.settings
    reached = verification.exact.accumulators if verification.exact else {}
    sums = pd.DataFrame(
        [(layer, low, high) for layer, (low, high) in reached.items()], columns=["layer", "lowest", "highest"]
    )
    costs = [result.layers.assign(machine=name) for name, result in estimates.items()]
    return Run(
        name=qmodel.recipe.name,
        manifest={
            "settings": {
                "model": qmodel.model.name,
                "recipe": qmodel.recipe.name,
                "steps": settings.steps,
                "labels": list(settings.labels),
                "guidance": settings.guidance,
                "seed": settings.seed,
                "machines": list(estimates),
            },
            "inputs": {qmodel.model.source: qmodel.model.digest},
            "recipe": qmodel.recipe.model_dump(mode="json"),
        },
        layers=layer_table(qmodel, sums),
        errors=verification.step_layers,
        quality=quality.table,
        cost=pd.concat(costs, ignore_index=True),
        totals=machine_totals(estimates, images=1),
        images=quality.images,
    )


def check_cards(verification: VerifyResult) -> list[VerdictCard]:
    """Return a card per check of the verification."""
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
    return cards


def _split_value(value: str) -> tuple[str, str]:
    """Return the figure for large type, and what belongs below it: "0 of 12" is "0" and "of 12; "."""
    figure, mark, rest = value.partition(" of ")
    if mark:
        return figure, f"of {rest}; "
    figure, mark, rest = value.partition(" ± ")
    return (f"{figure} {rest.split()[-1]}", f"± {rest}; ") if mark else (value, "")


def _save_numbers(folder: Path, qmodel: QuantizedModel, seed: int) -> None:
    write_manifest(
        folder,
        kind="report",
        format_version=1,
        settings={"model": MODEL, "recipe": qmodel.recipe.name, "seed": seed, "steps": STEPS},
        inputs={qmodel.model.source: qmodel.model.digest},
    )
