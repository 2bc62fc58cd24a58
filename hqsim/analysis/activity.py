"""What a run tells the cost model: zeros and toggles at the multipliers, and the sums that were seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from hqsim.errors import InputError

if TYPE_CHECKING:
    from hqsim.analysis.run_folder import Run
    from hqsim.graph import LayerRecord
    from hqsim.models import Model
    from hqsim.quantize import QuantizedModel, Recipe


@dataclass(frozen=True)
class Activity:
    """Means over all steps of a run, by layer; a layer that was not seen is missing.

    ``zero_fractions``: share of zeros among the operands; ``toggles``: share of neighbouring operands in
    which each bit changes, lowest bit first; ``accumulator_bits``: width that holds every sum that was seen.
    """

    zero_fractions: Mapping[str, float] = field(default_factory=dict)
    toggles: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    accumulator_bits: Mapping[str, int] = field(default_factory=dict)


def activity_of(run: Run, records: Sequence[LayerRecord]) -> Activity:
    """Return the activity of the matrix layers among ``records``.

    The sides of a split shortcut count by their sizes; of an attention product the first operand counts, the
    one that takes the place of activations.

    Raises
    ------
    InputError
        For a run without codes.
    """
    if run.codes.empty:
        raise InputError(
            f"run '{run.name}' holds no codes; trace the model with the part 'codes' ('--parts codes')"
        )
    from hqsim.analysis.observe import TOGGLES

    columns = ["zero_percent", *TOGGLES]
    means = run.codes.groupby(["layer", "operand"])[columns].mean() / 100.0
    known = set(run.codes["layer"])
    zeros, toggles = {}, {}
    for record in records:
        if record.matrix is None or record.name not in known:
            continue
        sides = range(len(record.inputs) if record.weights else 1)
        sizes = [record.inputs[side].elements for side in sides]
        shares = np.average([means.loc[record.name, side] for side in sides], axis=0, weights=sizes)
        zeros[record.name] = float(shares[0])
        changing = shares[1:][np.isfinite(shares[1:])]
        if len(changing):
            toggles[record.name] = tuple(changing.tolist())
    return Activity(zeros, toggles, observed_bits(run))


def observed_bits(run: Run) -> dict[str, int]:
    """Return by layer the width that holds every sum of the run."""
    if run.accumulators.empty:
        return {}
    widest = run.accumulators.groupby("layer")["observed_bits"].max()
    return {str(layer): int(bits) for layer, bits in widest.items()}


def check_run(run: Run, model: Model | QuantizedModel, recipe: Recipe) -> None:
    """Refuse a run of another model, recipe, or of another quantization of the same.

    Raises
    ------
    InputError
        With what differs.
    """
    from hqsim.analysis.trace import QUANTIZED, fingerprint
    from hqsim.quantize import QuantizedModel

    name = model.model.name if isinstance(model, QuantizedModel) else model.name
    for kind, wanted in (("model", name), ("recipe", recipe.name)):
        if run.settings[kind] != wanted:
            raise InputError(
                f"trace: {kind}: got a run of '{run.settings[kind]}', but '{wanted}' is estimated; give one "
                f"of '{wanted}'"
            )
    if isinstance(model, QuantizedModel) and run.manifest["inputs"].get(QUANTIZED) != fingerprint(model):
        raise InputError(
            f"trace: got a run of another quantization of '{name}' by '{recipe.name}'; trace this one"
        )
