"""What a comparison does for every recipe: quantize or take what ships, trace, judge images; in processes."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any

from hqsim.analysis.compare_folder import CompareFolder
from hqsim.analysis.outliers import weight_outliers
from hqsim.analysis.run_folder import Run
from hqsim.analysis.sample_quality import FLOAT, sample_quality, sampled
from hqsim.analysis.trace import PARTS, trace
from hqsim.errors import InputError

if TYPE_CHECKING:
    from hqsim.models import Model
    from hqsim.quantize import QuantizedModel, Recipe
    from hqsim.simulate import Samples

Progress = Callable[[str, int, int], None]
OUTLIERS, QUALITY = "outliers", "quality"
TRACED_IMAGES = 2
"""Images behind everything but the quality figures: layers have many values, images are few."""
QUALITY_IMAGES = 64


@dataclass(frozen=True, kw_only=True)
class CompareSettings:
    """What the runs of a comparison have in common; ``guidance`` None is the model's default."""

    images: int = QUALITY_IMAGES
    steps: int = 20
    guidance: float | None = None
    seed: int = 0
    machines: tuple[str, ...] = ()
    parts: tuple[str, ...] = PARTS
    untrained: bool = False

    def to_json(self, model: Model) -> dict[str, Any]:
        """Return plain values, the model among them."""
        import hqsim

        return {
            "hqsim": hqsim.__version__,
            "model": model.source,
            "model_sha256": model.digest,
            **{name: list(v) if isinstance(v, tuple) else v for name, v in vars(self).items()},
        }


@dataclass
class CompareWork:
    """What is done for every recipe; ``reference`` keeps the float model's samples between them."""

    model: Model
    settings: CompareSettings
    folder: CompareFolder
    progress: Progress
    reference: dict[str, Samples] = field(default_factory=dict)

    def fill(self, recipes: Sequence[Recipe], jobs: int) -> None:
        """Quantize and trace what is missing, ``jobs`` recipes at a time in processes of their own."""
        missing = [recipe for recipe in recipes if not self.folder.has_run(recipe.name)]
        jobs = min(jobs, len(missing))
        if jobs < 2:
            return
        threads = max(1, (os.cpu_count() or 1) // jobs)
        pool = ProcessPoolExecutor(
            jobs,
            mp_context=get_context("spawn"),
            initializer=_start,
            initargs=(self.model.source, self.settings, self.folder, threads),
        )
        try:
            running = [pool.submit(_finish, recipe) for recipe in missing]
            for done, future in enumerate(as_completed(running)):
                future.result()
                self.progress("recipes measured", done + 1, len(missing))
        finally:
            pool.shutdown(cancel_futures=True)

    def quantized(self, recipe: Recipe) -> QuantizedModel:
        """Return the quantized model: the one in the folder, the one that ships trained, or a new one."""
        import hqsim
        from hqsim.quantize.shipped import shipped

        trained = None if self.settings.untrained else shipped(self.model.name, recipe)
        kept = self.folder.model(recipe.name)
        if kept is not None:
            if trained is None and kept.recipe != recipe:
                raise InputError(
                    f"{self.folder.path}: holds another recipe called '{recipe.name}'; name a new folder"
                )
            return kept
        if trained is not None:
            qmodel = hqsim.load_quantized(trained)
        else:
            qmodel = hqsim.quantize(
                self.model,
                recipe,
                seed=self.settings.seed,
                steps=self.settings.steps,
                guidance=self.settings.guidance,
                progress=lambda label, done, total: self.progress(f"{recipe.name}: {label}", done, total),
            )
        self.folder.keep_model(recipe.name, qmodel)
        return qmodel

    def traced(self, recipe: Recipe, qmodel: QuantizedModel) -> Run:
        """Return the run of a recipe as its files hold it; measured where they are not there yet."""
        from hqsim.quantize.calibrate import one_thread

        if not self.folder.has_run(recipe.name):
            with one_thread():  # Float sums depend on the number of threads.
                run = self._measured(recipe.name, qmodel)
            self.folder.keep_run(recipe.name, run)
        return replace(self.folder.run(recipe.name), name=recipe.name)

    def _measured(self, name: str, qmodel: QuantizedModel) -> Run:
        settings = self.settings

        def progress(label: str, done: int, total: int) -> None:
            self.progress(f"{name}: {label}", done, total)

        run = trace(
            qmodel,
            parts=tuple(part for part in settings.parts if part != QUALITY),
            steps=settings.steps,
            images=min(TRACED_IMAGES, settings.images),
            guidance=settings.guidance,
            seed=settings.seed,
            machines=settings.machines,
            progress=progress,
        )
        if OUTLIERS not in settings.parts:
            run = replace(run, weights=weight_outliers(qmodel, progress))
        if QUALITY not in settings.parts:
            return run
        run_settings = self._run_settings(qmodel)
        if FLOAT not in self.reference:
            self.reference[FLOAT] = sampled(qmodel, run_settings, FLOAT, progress)
        found = sample_quality(
            qmodel, run_settings, progress, executors=("integer",), reference=self.reference[FLOAT]
        )
        decided = {**run.settings, "parts": list(settings.parts), "quality_images": settings.images}
        return replace(
            run,
            manifest={**run.manifest, "settings": decided},
            quality=found.table,
            images=found.images,
            arrays={**run.arrays, **found.figures},
        )

    def _run_settings(self, qmodel: QuantizedModel) -> Any:
        from hqsim.simulate.sampler import resolve_settings

        return resolve_settings(
            qmodel,
            labels=None,
            images=self.settings.images,
            steps=self.settings.steps,
            guidance=self.settings.guidance,
            seed=self.settings.seed,
        )


_works: list[CompareWork] = []
"""The work of a process of its own."""


def _start(source: str, settings: CompareSettings, folder: CompareFolder, threads: int) -> None:
    """Prepare a process: its share of the cores, the float model."""
    os.environ["NUMBA_NUM_THREADS"] = str(threads)  # Read when numba is first imported.
    import torch

    from hqsim.models import load_model

    torch.set_num_threads(threads)
    _works.append(CompareWork(load_model(source), settings, folder, lambda *_: None))


def _finish(recipe: Recipe) -> None:
    """Do all the work on one recipe."""
    (work,) = _works
    work.traced(recipe, work.quantized(recipe))
