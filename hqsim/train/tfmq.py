"""TFMQ-DM (Huang et al., 2024): the temporal information block first, then the others, then the operands.

1. Temporal-information-aware reconstruction: roundings of the temporal information block, on every pair of a
   timestep and a label, so that all temporal embeddings stay what they are.
2. Reconstruction of every other unit, in order, reading what the units before it give with rounded weights.
3. Finite-set calibration of the operands, with all weights as they will be stored.

While weights are learned no operand is quantized. The float and the quantized model go through the units side
by side, on the same rows; what no later unit reads is forgotten.
"""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np
import torch
from torch import Tensor

from hqsim.errors import UnsupportedError
from hqsim.ops import OPERATORS, Multiply, WeightCodes
from hqsim.ops.realisation import is_double
from hqsim.quantize import QuantizedModel
from hqsim.quantize.api import assemble, quantize_weights
from hqsim.quantize.calibrate import calibrate, one_thread
from hqsim.quantize.lower import lower, width_formats
from hqsim.quantize.quantized_model import Training
from hqsim.quantize.reconstruction import Reconstruction
from hqsim.quantize.temporal import LABELS, TIMESTEP
from hqsim.quantize.torch_model import TorchModel
from hqsim.train.checkpoint import Checkpoint
from hqsim.train.finite_set import calibrate_operands
from hqsim.train.reconstruct import UnitReconstruction, evaluate_all
from hqsim.train.rounding import AdaptiveRounding
from hqsim.train.run import Run
from hqsim.train.teacher import Trajectories
from hqsim.train.units import TEMPORAL, Unit, reconstruction_units

COLUMNS = ("block", "update", "squared_error", "penalty")
STREAM = 4
POINTS = 100
"""Points of the curve per block."""


def reconstruct_model(run: Run, options: Reconstruction) -> QuantizedModel:
    """Train and return the quantized model; on a CPU with one thread, so that threads change no byte.

    Raises
    ------
    UnsupportedError
        For weights quantized in the transformed domain.
    InputError
        When the checkpoint is of another run.
    NumericsError
        When a value is not finite.
    """
    if run.updates is not None:
        options = options.model_copy(update={"updates": run.updates})
    with one_thread() if run.device == "cpu" else nullcontext():
        return _Tfmq(run, options).result()


class _Tfmq:
    """One run, from trajectories to export."""

    def __init__(self, run: Run, options: Reconstruction) -> None:
        self.run = run
        self.options = options
        self.lowered = lower(run.model.graph, run.recipe)
        doubled = [node.name for node in self.lowered if is_double(node) and "weight" in node.parameters]
        if doubled:
            raise UnsupportedError(
                f"recipe '{run.recipe.name}': training.kind 'tfmq' rounds real weights, but '{doubled[0]}' "
                "is quantized in the transformed domain (hadamard.kind 'double'); use 'none' or 'single'"
            )
        spread = [node.name for node in self.lowered if node.attributes.get("exponents")]
        if spread:
            raise UnsupportedError(
                f"recipe '{run.recipe.name}': training.kind 'tfmq' calibrates one step for all channels of "
                f"an operand, but '{spread[0]}' has exponents; set activations.exponents to 0"
            )
        self.weights = quantize_weights(run.model, self.lowered)
        self.layers = {
            node.parameters["weight"]: node
            for node in self.lowered
            if isinstance(OPERATORS[node.op], Multiply) and "weight" in node.parameters
        }
        self.real = TorchModel(self.lowered, run.model.parameters)
        self.curve: list[np.ndarray] = []
        self.blocks: list[dict[str, object]] = []

    def result(self) -> QuantizedModel:
        """Reconstruct all units, calibrate the operands, export."""
        run, options = self.run, self.options
        steps = self._trajectories()
        self._reconstruct({name: torch.cat([step[name] for step in steps]) for name in steps[0]})
        quantized = TorchModel(self.lowered, run.model.parameters, weights=self.weights)
        operands = calibrate_operands(
            quantized,
            width_formats(self.lowered, run.recipe, {}),
            [image_batches(step, run.settings.images, options.calibration_batches) for step in steps],
            momentum=options.momentum,
        )
        formats = calibrate(
            run.model, self.lowered, run.recipe, self.weights, run.settings, run.progress, learned=operands
        )
        settings = {
            **options.model_dump(mode="json"),
            "seed": run.settings.seed,
            "images": run.settings.images,
            "blocks": self.blocks,
        }
        training = Training(settings, COLUMNS, np.concatenate(self.curve))
        return assemble(run.model, run.recipe, self.lowered, self.weights, formats, run.settings, training)

    def _trajectories(self) -> list[dict[str, Tensor]]:
        """The model's inputs at every step of the float model's trajectories."""
        settings = self.run.settings

        def teacher(inputs, entry):
            for visit in self.real.walk(inputs, entry):
                noise = visit.value
            return noise

        lessons = Trajectories(
            self.run.model,
            teacher,
            steps=settings.steps,
            batch=settings.images,
            guidance=settings.guidance,
            seed=settings.seed,
            device=torch.device("cpu"),
            stream=STREAM,
        )
        found = []
        for step in range(settings.steps):
            self.run.progress("trajectories (float)", step, settings.steps)
            found.append(dict(lessons.lesson(step).inputs))
        self.run.progress("trajectories (float)", settings.steps, settings.steps)
        return found

    def _reconstruct(self, inputs: dict[str, Tensor]) -> None:
        """Take both models through all units; learn the roundings of those that have weights."""
        units = reconstruction_units(self.lowered)
        readers = {name: position for position, unit in enumerate(units) for name in unit.inputs}
        exact, rounded = dict(inputs), dict(inputs)
        for position, unit in enumerate(units):
            real = self._parameters(unit)
            ours = {name: rounded[name] for name in unit.inputs}
            results = evaluate_all(unit, {name: exact[name] for name in unit.inputs}, real, self.run.device)
            if unit.weights and unit.name == TEMPORAL:
                self._learn(unit, real, self._pairs(unit), None)
            elif unit.weights:
                self._learn(unit, real, ours, results)
            exact |= results
            rounded |= evaluate_all(unit, ours, real | self._dequantized(unit), self.run.device)
            for values in (exact, rounded):
                for name in [name for name in values if readers.get(name, -1) <= position]:
                    del values[name]

    def _learn(
        self,
        unit: Unit,
        real: dict[str, Tensor],
        inputs: dict[str, Tensor],
        targets: dict[str, Tensor] | None,
    ) -> None:
        """Learn the roundings of a unit, from its checkpoint where it has one."""
        run, options = self.run, self.options
        roundings = {
            name: AdaptiveRounding(self.layers[name], run.model.parameters[name], self.weights[name])
            for name in unit.weights
        }
        task = UnitReconstruction(
            unit, roundings, real, inputs, targets,
            settings=options, seed=run.settings.seed, device=run.device,
        )  # fmt: skip
        nearest = task.error(self._dequantized(unit))
        checkpoint = self._checkpoint(unit)
        first, extra = checkpoint.load(task.network, task.optimizer) if checkpoint else (0, {})
        updates = options.updates
        every = -(-updates // POINTS)
        curve = extra["curve"] if first else np.zeros((-(-updates // every), len(COLUMNS)))
        for update in range(first, updates):
            run.progress(f"reconstruct {unit.name}", update, updates)
            error, penalty = task.update(update)
            if update % every == 0:
                curve[update // every] = len(self.blocks), update, error, penalty
            done = update + 1
            if checkpoint and (done % options.checkpoint_every == 0 or done == updates):
                checkpoint.save(done, task.network, task.optimizer, {"curve": curve})
        run.progress(f"reconstruct {unit.name}", updates, updates)
        self.weights |= task.codes()
        self.curve.append(curve)
        learned = task.error(self._dequantized(unit))
        self.blocks.append({"name": unit.name, "nearest": nearest, "learned": learned})

    def _pairs(self, unit: Unit) -> dict[str, Tensor]:
        """All values that the temporal information block's inputs can take in a run."""
        model = self.run.model
        timesteps = torch.tensor([int(step) for step in model.schedule.timesteps(self.run.settings.steps)])
        if LABELS not in unit.inputs:
            return {TIMESTEP: timesteps}
        labels = torch.arange(model.classes + (model.null_label is not None))
        pairs = torch.cartesian_prod(timesteps, labels)
        return {TIMESTEP: pairs[:, 0], LABELS: pairs[:, 1]}

    def _parameters(self, unit: Unit) -> dict[str, Tensor]:
        """The float parameters that a unit reads, on the device."""
        names = {name for node in unit.part for name in node.parameters.values()}
        return {name: self.real.parameters[name].to(self.run.device) for name in sorted(names)}

    def _dequantized(self, unit: Unit) -> dict[str, Tensor]:
        """What the codes of a unit's weights stand for, on the device."""
        return {name: self._real_weight(name, self.weights[name]) for name in unit.weights}

    def _real_weight(self, name: str, codes: WeightCodes) -> Tensor:
        node = self.layers[name]
        operator = OPERATORS[node.op]
        assert isinstance(operator, Multiply)
        return torch.from_numpy(operator.real_weight(node, codes)).float().to(self.run.device)

    def _checkpoint(self, unit: Unit) -> Checkpoint | None:
        """Each unit has a folder of its own: a finished one keeps its roundings there."""
        run = self.run
        if run.checkpoint is None:
            return None
        training = self.options.model_dump(mode="json", exclude={"checkpoint_every"})
        settings = {**run.identity, "training": training, "block": unit.name}
        return Checkpoint(run.checkpoint / unit.name.replace(" ", "-"), settings)


def image_batches(inputs: dict[str, Tensor], images: int, batches: int) -> list[dict[str, Tensor]]:
    """Return ``inputs`` in at most so many batches of rows; both halves of a guided image stay together."""
    rows = torch.arange(len(inputs["sample"])).reshape(-1, images)
    return [
        {name: value[part.reshape(-1)] for name, value in inputs.items()}
        for part in rows.tensor_split(min(batches, images), dim=1)
    ]
