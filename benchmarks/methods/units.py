"""The units: quantize or train a model; sample a batch of images; judge them; run a study of another room."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass
from functools import cache, lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from benchmarks.methods import plan
from benchmarks.methods.journal import Journal, Unit
from benchmarks.methods.plan import Variant, with_training
from hqsim.errors import UnsupportedError
from hqsim.io import read_tensors, write_tensors, write_text_atomic

FLOAT = "float"
SHOWN_IMAGES = 10
"""Images that a contact sheet can show."""
CURVE = "training.csv"
DISTANCES = "distances.json"


@dataclass(frozen=True)
class ModelUnit:
    """Quantize a variant; train it where it trains. A training that was killed goes on."""

    variant: Variant

    kept: ClassVar[bool] = False

    @property
    def name(self) -> str:
        """Its folder."""
        return f"model/{self.variant.name}"

    @property
    def key(self) -> str:
        """The recipe's."""
        return self.variant.key

    @property
    def needs(self) -> tuple[Unit, ...]:
        """Nothing."""
        return ()

    def run(self, journal: Journal, out: Path) -> None:
        """Write the artefact to ``model``."""
        import hqsim

        settings, state = journal.settings, journal.folder / "state" / self.variant.name
        recipe, training = self.variant.recipe, {}
        if self.variant.trained:
            lessons = journal.folder / "lessons"
            updates = settings.updates * self.variant.budgets
            training = {"train": updates, "checkpoint": state, "lessons": lessons}
            recipe = with_training(recipe, settings.training, self.variant.lora_factor)
        seed = settings.seed + self.variant.seed
        qmodel = hqsim.quantize(_float_model(), recipe, seed=seed, steps=settings.steps, **training)
        qmodel.save(out / "model")
        shutil.rmtree(state, ignore_errors=True)


@dataclass(frozen=True)
class SampleUnit:
    """A batch of images by one executor; batch i is the run of seed i. Without a variant: the float model."""

    variant: Variant | None
    executor: str
    batch: int

    kept: ClassVar[bool] = False

    @property
    def name(self) -> str:
        """Its folder."""
        return f"samples/{self.variant.name if self.variant else FLOAT}/{self.executor}-{self.batch:03d}"

    @property
    def key(self) -> str:
        """The recipe's."""
        return self.variant.key if self.variant else ""

    @property
    def needs(self) -> tuple[Unit, ...]:
        """The model."""
        return (ModelUnit(self.variant),) if self.variant else ()

    def run(self, journal: Journal, out: Path) -> None:
        """Write codes, latents (24-bit codes of ``2^-20``: float32 holds them) and labels."""
        import hqsim

        settings = journal.settings
        qmodel = (
            _quantized(journal.path(ModelUnit(self.variant)) / "model") if self.variant else _any_quantized()
        )
        samples = hqsim.simulate(
            qmodel, images=settings.batch, executor=self.executor, steps=settings.steps, seed=self.batch
        )
        tensors = {
            "codes": samples.codes,
            "latents": samples.latents.astype(np.float32),
            "labels": samples.labels,
        }
        write_tensors(out / "samples.safetensors", tensors, {"executor": self.executor})


@dataclass(frozen=True)
class JudgeUnit:
    """The figures of the first ``images`` images of a variant, with their bootstrap."""

    variant: Variant | None
    images: int
    batches: int

    kept: ClassVar[bool] = True

    @property
    def name(self) -> str:
        """Its folder."""
        return f"figures/{self.variant.name if self.variant else FLOAT}/{self.images}-images"

    @property
    def key(self) -> str:
        """The recipe's."""
        return self.variant.key if self.variant else ""

    @property
    def samples(self) -> tuple[SampleUnit, ...]:
        """Its images."""
        executor = "integer" if self.variant else FLOAT
        return tuple(SampleUnit(self.variant, executor, batch) for batch in range(self.batches))

    @property
    def reference(self) -> tuple[SampleUnit, ...]:
        """The float model's images of the same seeds."""
        return tuple(SampleUnit(None, FLOAT, batch) for batch in range(self.batches))

    @property
    def needs(self) -> tuple[Unit, ...]:
        """Images of both."""
        return (*self.reference, *(self.samples if self.variant else ()))

    def run(self, journal: Journal, out: Path) -> None:
        """Write ``figures.json`` (value and interval), the draws, the first images, what training tells."""
        from hqsim.analysis.quality import METRICS, evaluate

        ours = read_samples(journal, self.samples, self.images)
        theirs = read_samples(journal, self.reference, self.images)
        reference = (theirs["codes"], theirs["latents"].astype(np.float64)) if self.variant else None
        measured = evaluate(
            ours["codes"],
            ours["latents"].astype(np.float64),
            ours["labels"],
            _judge(),
            reference=reference,
        )
        figures = {name: [figure.value, *METRICS[name].interval(figure)] for name, figure in measured.items()}
        record = {"extractor": _judge().extractor.name, "images": self.images, "figures": figures}
        write_text_atomic(out / "figures.json", json.dumps(record, indent=1) + "\n")
        draws = {name: figure.draws.astype(np.float32) for name, figure in measured.items()}
        write_tensors(out / "draws.safetensors", draws, {})
        write_tensors(out / "first.safetensors", {"codes": ours["codes"][:SHOWN_IMAGES]}, {})
        if self.variant and self.variant.trained:
            keep_training(journal.path(ModelUnit(self.variant)) / "model", out)


@dataclass(frozen=True)
class StudyUnit:
    """A table that another room makes: ``function`` of ``module`` returns a DataFrame."""

    title: str
    module: str
    function: str
    arguments: tuple[tuple[str, Any], ...] = ()

    kept: ClassVar[bool] = True

    @property
    def name(self) -> str:
        """Its folder."""
        return f"study/{self.title}"

    @property
    def key(self) -> str:
        """Its call."""
        return json.dumps(asdict(self), sort_keys=True)

    @property
    def needs(self) -> tuple[Unit, ...]:
        """Nothing."""
        return ()

    def run(self, journal: Journal, out: Path) -> None:
        """Write the table."""
        try:
            function = getattr(import_module(self.module), self.function)
        except (ImportError, AttributeError) as error:
            raise UnsupportedError(f"study '{self.title}': this hqsim does not have it: {error}") from None
        function(**dict(self.arguments)).to_csv(out / "table.csv", index=False, lineterminator="\n")


@dataclass(frozen=True)
class TemporalUnit:
    """Error of the temporal features by timestep, TFMQ-DM beside plain PTQ."""

    widths: str

    kept: ClassVar[bool] = True

    @property
    def name(self) -> str:
        """Its folder."""
        return f"study/tfmq-features-{self.widths}"

    @property
    def key(self) -> str:
        """The recipes'."""
        return "-".join(unit.key for unit in self.needs)

    @property
    def needs(self) -> tuple[Unit, ...]:
        """The models."""
        return tuple(ModelUnit(variant) for variant in self.variants)

    @property
    def variants(self) -> tuple[Variant, ...]:
        """Plain PTQ and TFMQ-DM."""
        return (Variant("ptq", self.widths, False), Variant("tfmq", self.widths, True))

    def run(self, journal: Journal, out: Path) -> None:
        """Write the table."""
        from hqsim.analysis.temporal import temporal_errors

        models = {v.method: _quantized(journal.path(ModelUnit(v)) / "model") for v in self.variants}
        temporal_errors(models).to_csv(out / "table.csv", index=False, lineterminator="\n")


def keep_training(model: Path, out: Path) -> None:
    """Write into ``out`` what a trained artefact tells of its training.

    Its curve; of a distillation the SQNR of the predicted noise at the start, as learned and as exported.
    """
    shutil.copy(model / CURVE, out / CURVE)
    training = json.loads((model / "config.json").read_text())["training"]
    if "noise_sqnr_db" in training:
        write_text_atomic(out / DISTANCES, json.dumps(training["noise_sqnr_db"], indent=1) + "\n")


def judge_unit(journal: Journal, variant: Variant | None, images: int) -> JudgeUnit:
    """Return the unit that judges so many images."""
    return JudgeUnit(variant, images, -(-images // journal.settings.batch))


STEP_ERRORS = (("model", plan.MODEL), ("recipe", f"efficientdm-{plan.ABLATION_WIDTH}"))
TEMPORAL = TemporalUnit(plan.TFMQ_WIDTHS[0])


def _operands(*methods: str) -> tuple[tuple[str, Any], ...]:
    """The call that compares the operands of two methods."""
    recipes = tuple(f"{method}-{plan.ABLATION_WIDTH}" for method in methods)
    return (("model", plan.MODEL), ("recipes", recipes))


CODES = _operands("efficientdm", "hqdm-channel")
STEPS = _operands("hqdm-channel", plan.EXPONENTS)
STUDIES: tuple[StudyUnit | TemporalUnit, ...] = (
    StudyUnit("spreading", "hqsim.analysis.spreading", "spreading", (("model", plan.MODEL),)),
    StudyUnit("operand-errors", "hqsim.analysis.operand_errors", "operand_errors", CODES),
    StudyUnit("operand-exponents", "hqsim.analysis.operand_errors", "operand_errors", STEPS),
    StudyUnit("step-errors", "hqsim.analysis.step_errors", "shipped_step_errors", STEP_ERRORS),
    StudyUnit("dit-calibration", "hqsim.analysis.dit_tables", "calibration_table"),
    StudyUnit("dit-weights", "hqsim.analysis.dit_tables", "weight_table"),
    TEMPORAL,
)


def all_units(journal: Journal, *, images: int, ablation_images: int) -> list[Unit]:
    """Every judged variant and every study, the most wanted first."""
    units: list[Unit] = [judge_unit(journal, None, images)]
    shown = len(plan.SHOWN_WIDTHS) * len(plan.METHODS)
    table, starts = plan.table_variants(), plan.start_variants()
    first = (
        *table[:shown],
        *plan.higher_order_variants(),
        *plan.double_channel_variants(),
        *plan.mixed_variants(),
        *plan.exponent_variants(),
        *starts,
        *table[shown:],
    )
    units += [judge_unit(journal, variant, images) for variant in first]
    units += STUDIES
    units += [judge_unit(journal, variant, images) for variant in plan.tfmq_variants()]
    units += [judge_unit(journal, variant, ablation_images) for variant in plan.traded_variants()]
    units += [judge_unit(journal, weighed, images) for _, weighed in plan.sample_loss_variants()]
    units += [judge_unit(journal, longer, images) for _, longer in plan.longer_variants()]
    again = zip(*(repeats[1:] for repeats in plan.repeated_variants()), strict=True)
    units += [judge_unit(journal, variant, images) for of_seed in again for variant in of_seed]
    return units


def read_samples(journal: Journal, units: tuple[SampleUnit, ...], images: int) -> dict[str, np.ndarray]:
    """Return codes, latents and labels of the first ``images`` images of some batches."""
    parts = [read_tensors(journal.path(unit) / "samples.safetensors")[0] for unit in units]
    return {name: np.concatenate([part[name] for part in parts])[:images] for name in parts[0]}


@cache
def _float_model() -> Any:
    import hqsim

    return hqsim.load_model(plan.MODEL)


@lru_cache(maxsize=2)
def _quantized(folder: Path) -> Any:
    import hqsim

    return hqsim.load_quantized(folder)


@cache
def _any_quantized() -> Any:
    """What the float executor wants beside the float model: noise and sampler are the same for all."""
    import hqsim

    return hqsim.quantize(_float_model(), "ptq-w8a8", steps=1, images=1)


@cache
def _judge() -> Any:
    from hqsim.analysis.features import DigitsExtractor, real_digits
    from hqsim.analysis.quality import Judge

    return Judge(real_digits(), DigitsExtractor())
