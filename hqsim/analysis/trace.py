"""``hqsim.trace``: what reports and the cost model want to know of one quantized model, measured."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hqsim.analysis.memory import release_freed
from hqsim.analysis.run_folder import Run
from hqsim.errors import InputError, unknown_name

if TYPE_CHECKING:
    from hqsim.quantize import QuantizedModel
    from hqsim.simulate.sampler import Progress, SamplingSettings

QUANTIZED = "quantized model"
"""Whose sha256 stands under this name among the inputs of a run's manifest."""
PARTS = ("outliers", "codes", "errors", "sensitivity", "quality", "cost")


def trace(
    qmodel: QuantizedModel,
    *,
    parts: Sequence[str] = PARTS,
    steps: int = 20,
    images: int = 8,
    guidance: float | None = None,
    labels: Sequence[int] | None = None,
    seed: int = 0,
    machines: Sequence[str] = (),
    layers: Sequence[str] = (),
    progress: Progress | None = None,
) -> Run:
    """Measure a quantized model on its own trajectories.

    Parameters
    ----------
    qmodel
        The quantized model. ``outliers``, ``errors``, ``sensitivity`` and ``quality`` load its float model
        too.
    parts
        What is measured: ``outliers`` (activations, weights, arrays), ``codes`` (of operands, accumulators;
        the codes themselves of ``layers``), ``errors`` (with their growth), ``sensitivity``, ``quality``
        (with the images), ``cost`` (on ``machines``). The table of layers comes with any of them.
    steps, images, guidance, labels, seed
        The trajectories, as in ``hqsim.simulate``; with ``labels`` there is one image per label.
    machines
        Machines whose cost is estimated, names or YAML files.
    layers
        Names or wildcards of the layers whose histograms, maxima and operand codes are kept; by default
        histograms and maxima of all layers, codes of none.

    Raises
    ------
    InputError
        For unknown parts, machines or layers, machines without the part ``cost``, or settings that the model
        does not have.
    """
    from hqsim.analysis.layer_table import layer_table
    from hqsim.analysis.observe import matching_layers
    from hqsim.cost import load_hardware
    from hqsim.simulate.sampler import resolve_settings
    from hqsim.simulate.verify import matrix_layers

    for part in parts:
        if part not in PARTS:
            raise unknown_name("part", part, PARTS)
    if machines and "cost" not in parts:
        raise InputError(
            f"machines: got {', '.join(machines)} without the part 'cost'; ask for it, or for none"
        )
    for machine in machines:
        load_hardware(machine)
    names = [node.name for node in matrix_layers(qmodel)]
    kept = matching_layers(layers, names) if layers else set(names)
    settings = resolve_settings(
        qmodel,
        labels=labels,
        images=images if labels is None else None,
        steps=steps,
        guidance=guidance,
        seed=seed,
    )
    measuring = _Measuring(
        qmodel, settings, tuple(machines), tuple(layers), kept, progress or (lambda *_: None)
    )
    measured: dict[str, Any] = {}
    for part in (part for part in PARTS if part in parts):
        found = getattr(measuring, part)()
        arrays = {**measured.get("arrays", {}), **found.pop("arrays", {})}
        measured |= {**found, "arrays": arrays}
        release_freed()
    table = layer_table(qmodel, measured.get("accumulators"))
    manifest = {
        "settings": {
            "model": qmodel.model.name,
            "recipe": qmodel.recipe.name,
            "parts": [part for part in PARTS if part in parts],
            "steps": settings.steps,
            "images": len(settings.labels),
            "labels": list(settings.labels),
            "guidance": settings.guidance,
            "seed": settings.seed,
            "machines": [str(machine) for machine in machines],
            "refusals": measuring.refusals,
            "layers": list(layers),
        },
        "inputs": {qmodel.model.source: qmodel.model.digest, QUANTIZED: fingerprint(qmodel)},
    }
    return Run(name=qmodel.recipe.name, manifest=manifest, layers=table, **measured)


def fingerprint(qmodel: QuantizedModel) -> str:
    """Return the sha256 of what makes the integers: recipe, formats, weight codes and their scales."""
    formats = {name: found.to_json() for name, found in qmodel.formats.items()}
    record = {"recipe": qmodel.recipe.model_dump(mode="json"), "formats": formats}
    found = hashlib.sha256(json.dumps(record, sort_keys=True).encode())
    for name, weight in sorted(qmodel.weights.items()):
        found.update(name.encode())
        found.update(weight.packed.tobytes())
        found.update(weight.scales.tobytes())
    return found.hexdigest()


@dataclass(frozen=True)
class _Measuring:
    """One method per part, which returns its fields of a run; a part's room is entered when it is wanted."""

    qmodel: QuantizedModel
    settings: SamplingSettings
    machines: tuple[str, ...]
    layers: tuple[str, ...]
    kept: set[str]
    progress: Progress
    refusals: dict[str, str] = field(default_factory=dict)

    def outliers(self) -> dict[str, Any]:
        """Tables of activations and weights, histograms and maxima of the kept layers."""
        from hqsim.analysis.outliers import outliers

        activations, weights, arrays = outliers(self.qmodel, self.settings, self.progress)
        kept = {name: array for name, array in arrays.items() if self._is_kept(name)}
        return {"activations": activations, "weights": weights, "arrays": kept}

    def codes(self) -> dict[str, Any]:
        """Tables of codes and sums, and the codes themselves of chosen layers."""
        from hqsim.analysis.observe import observe

        codes, accumulators, arrays = observe(self.qmodel, self.settings, self.layers, self.progress)
        return {"codes": codes, "accumulators": accumulators, "operand_codes": arrays}

    def errors(self) -> dict[str, Any]:
        """Errors by layer and step, and how that of the sample grows."""
        from hqsim.analysis.errors import errors
        from hqsim.analysis.growth import growth

        return {
            "errors": errors(self.qmodel, self.settings, self.progress),
            "growth": growth(self.qmodel, self.settings, self.progress),
        }

    def sensitivity(self) -> dict[str, Any]:
        """One-on and one-off errors by layer."""
        from hqsim.analysis.sensitivity import sensitivity

        return {"sensitivity": sensitivity(self.qmodel, self.settings, self.progress)}

    def quality(self) -> dict[str, Any]:
        """Figures by executor, what they were drawn from, and the images."""
        from hqsim.analysis.sample_quality import sample_quality

        found = sample_quality(self.qmodel, self.settings, self.progress)
        return {"quality": found.table, "images": found.images, "arrays": found.figures}

    def cost(self) -> dict[str, Any]:
        """Layers and totals of one image on every machine that can run the model."""
        import pandas as pd

        from hqsim.analysis.breakdown import machine_totals
        from hqsim.analysis.estimate import compare

        steps, guidance = self.settings.steps, self.settings.guidance
        found = compare(self.qmodel, self.machines, steps=steps, guidance=guidance)
        self.refusals.update(found.refusals)
        if not found.estimates:
            return {}
        tables = []
        for name, estimate in found.estimates.items():
            tables.append(estimate.layers.copy())
            tables[-1].insert(0, "machine", name)
        cost = pd.concat(tables, ignore_index=True)
        return {"cost": cost, "totals": machine_totals(found.estimates, images=1)}

    def _is_kept(self, name: str) -> bool:
        """Whether an array of the outliers, ``KIND/LAYER/...``, is of a kept layer, or of all."""
        _, _, place = name.partition("/")
        return not place or place.split("/")[0] in self.kept
