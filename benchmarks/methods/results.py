"""What the units have found so far; None stands for what has not run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain

import numpy as np
import pandas as pd

from benchmarks.methods import plan
from benchmarks.methods.journal import Journal, Unit
from benchmarks.methods.plan import Variant
from benchmarks.methods.units import CURVE, DISTANCES, judge_unit
from hqsim.analysis.bit_operations import BitOperations, bit_operations
from hqsim.analysis.bootstrap import Measured
from hqsim.analysis.quality import METRICS
from hqsim.io import read_tensors


@dataclass(frozen=True)
class Results:
    """Reads a work folder."""

    journal: Journal
    images: int
    ablation_images: int

    def figures(self, variant: Variant | None, images: int | None = None) -> dict[str, Measured] | None:
        """Return the figures of a variant (None: the float model) by metric."""
        unit = judge_unit(self.journal, variant, images or self.images)
        if not self.journal.done(unit):
            return None
        folder = self.journal.path(unit)
        draws, _ = read_tensors(folder / "draws.safetensors")
        values = json.loads((folder / "figures.json").read_text())["figures"]
        return {
            name: Measured(value, draws[name].astype(np.float64)) for name, (value, _, _) in values.items()
        }

    def image_codes(self, variant: Variant | None) -> np.ndarray | None:
        """Return the first images of a variant, uint8 ``[SHOWN_IMAGES, h, w]``."""
        unit = judge_unit(self.journal, variant, self.images)
        if not self.journal.done(unit):
            return None
        return read_tensors(self.journal.path(unit) / "first.safetensors")[0]["codes"][:, 0]

    def curve(self, variant: Variant) -> pd.DataFrame | None:
        """Return the training curve."""
        unit = judge_unit(self.journal, variant, self.images)
        path = self.journal.path(unit) / CURVE
        return pd.read_csv(path) if self.journal.done(unit) and path.exists() else None

    def noise_sqnr_db(self, variant: Variant) -> Mapping[str, float] | None:
        """Return the SQNR of a distilled student's noise: at the ``start``, ``learned`` and ``exported``."""
        unit = judge_unit(self.journal, variant, self.images)
        path = self.journal.path(unit) / DISTANCES
        return json.loads(path.read_text()) if self.journal.done(unit) and path.exists() else None

    def study(self, unit: Unit) -> pd.DataFrame | None:
        """Return a study's table."""
        return pd.read_csv(self.journal.path(unit) / "table.csv") if self.journal.done(unit) else None

    def bits(self, variant: Variant) -> BitOperations:
        """Return what one evaluation of the model multiplies; known without any run."""
        from hqsim.analysis.estimate import records_of

        return bit_operations(
            records_of(
                plan.MODEL, recipe=variant.recipe, batch=1, guidance=1.0, steps=self.journal.settings.steps
            )
        )

    def table(self) -> pd.DataFrame:
        """Return every figure in tidy form: one row per variant, number of images and metric."""
        cases = [(None, self.images)]
        cases += [
            (variant, self.images)
            for variant in (
                *plan.table_variants(),
                *plan.higher_order_variants(),
                *plan.double_channel_variants(),
                *plan.mixed_variants(),
                *plan.exponent_variants(),
                *plan.start_variants(),
                *plan.tfmq_variants(),
                *(weighed for _, weighed in plan.sample_loss_variants()),
                *(longer for _, longer in plan.longer_variants()),
                *chain.from_iterable(plan.repeated_variants()),
            )
        ]
        cases += [(variant, self.ablation_images) for variant in plan.traded_variants()]
        rows = []
        for variant, images in dict.fromkeys(cases):
            for metric, figure in (self.figures(variant, images) or {}).items():
                low, high = METRICS[metric].interval(figure)
                rows.append((variant.name if variant else "float", images, metric, figure.value, low, high))
        return pd.DataFrame(rows, columns=["variant", "images", "metric", "value", "low", "high"])
