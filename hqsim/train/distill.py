"""Data-free distillation: the student follows the teacher's guided noise along the teacher's trajectories.

The loss is the mean squared error of the guided noise, all steps alike or as much as each of them matters to
the next sample; AdamW with three learning rates that fall linearly to zero: low-rank factors (per layer, in
its mean weight scale), weight scales, operand scales and zero-points. Ratios of weight scales per timestep
have the rate of the weight scales over their mean, which makes it relative, times the steps of a trajectory,
one of which alone updates an entry: a ratio can go as far as a static scale.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import mse_loss

from hqsim.errors import InputError, NumericsError
from hqsim.graph.walk import result_of
from hqsim.quantize import QuantizedModel
from hqsim.quantize.api import assemble, quantize_weights
from hqsim.quantize.calibrate import calibrate, one_thread
from hqsim.quantize.lower import layer_plans, lower
from hqsim.quantize.quantized_model import Training
from hqsim.quantize.torch_model import TorchModel
from hqsim.quantize.training import Distillation
from hqsim.train.checkpoint import Checkpoint
from hqsim.train.lora import LowRank, generator_of
from hqsim.train.run import Run
from hqsim.train.student import Student, visits
from hqsim.train.teacher import EVALUATION_STREAM, Lesson, Trajectories, distance_db, guided, step_weights

COLUMNS = ("update", "loss", "sqnr_db")
EVALUATION_IMAGES = 4


def distill(run: Run, options: Distillation) -> QuantizedModel:
    """Train and return the quantized model; on a CPU with one thread, so that threads change no byte.

    Raises
    ------
    InputError
        When the trajectory lacks a step of the sampling, or the checkpoint is of another run.
    UnsupportedError
        For weight codes per timestep.
    NumericsError
        When a value is not finite.
    """
    if run.updates is not None:
        options = options.resized(run.updates, run.settings.steps)
    with one_thread() if run.device == "cpu" else nullcontext():
        return _Distillation(run, options).result()


class _Distillation:
    """One run, from calibration to export."""

    def __init__(self, run: Run, options: Distillation) -> None:
        self.run = run
        self.options = options
        self.device = torch.device(run.device)
        self.lowered = lower(run.model.graph, run.recipe)
        self.trajectory_steps = options.trajectory_steps or run.settings.steps
        self.entries = self._entries()
        self.student = self._student()
        self.optimizer = torch.optim.AdamW(self._groups(), fused=True)
        self.lessons = self._trajectories(self.trajectory_steps, options.batch)
        self.weights = step_weights(self.lessons.steps, options.loss)
        self.curve = np.zeros((-(-options.updates // self.trajectory_steps), len(COLUMNS)))

    def result(self) -> QuantizedModel:
        """Train, export, and say how far the student was from the teacher before, after, and as exported."""
        examples = self._trajectories(self.run.settings.steps, EVALUATION_IMAGES, EVALUATION_STREAM)
        distances = {"start": distance_db(examples, self._at_sampling_steps)}
        self._train()
        distances["learned"] = distance_db(examples, self._at_sampling_steps)
        qmodel = self._export()
        parameters = qmodel.with_tables(self.run.model.parameters)
        fake = TorchModel(qmodel.graph, parameters, formats=qmodel.formats, weights=qmodel.weights)
        examples = self._trajectories(self.run.settings.steps, EVALUATION_IMAGES, EVALUATION_STREAM, "cpu")
        distances["exported"] = distance_db(
            examples, lambda inputs, entry: result_of(fake.walk(inputs, entry))
        )
        assert qmodel.training is not None
        settings = {**qmodel.training.settings, "noise_sqnr_db": distances}
        return replace(qmodel, training=replace(qmodel.training, settings=settings))

    def _entries(self) -> list[int]:
        """The step of the trajectory that each step of the sampling is."""
        schedule = self.run.model.schedule
        ours = [int(timestep) for timestep in schedule.timesteps(self.trajectory_steps)]
        wanted = [int(timestep) for timestep in schedule.timesteps(self.run.settings.steps)]
        missing = [timestep for timestep in wanted if timestep not in ours]
        if missing:
            raise InputError(
                f"training.trajectory_steps: got {self.trajectory_steps}, whose timesteps lack {missing[0]} "
                f"of the {self.run.settings.steps} steps of sampling; use a multiple of "
                f"{self.run.settings.steps}, or null for the same steps"
            )
        return [ours.index(timestep) for timestep in wanted]

    def _student(self) -> Student:
        """The calibrated start, with low-rank factors on every layer that the recipe does not except."""
        run, model = self.run, self.run.model
        weights = quantize_weights(model, self.lowered)
        settings = replace(run.settings, steps=self.trajectory_steps)
        formats = calibrate(model, self.lowered, run.recipe, weights, settings, run.progress)
        adapters = {}
        for name, plan in layer_plans(model.graph, run.recipe).items():
            weight = model.graph[name].parameters["weight"]
            if plan.lora:
                generator = generator_of(run.settings.seed, weight)
                adapters[weight] = LowRank(weights[weight].shape, self.options.lora_rank, generator)
        entries = self.trajectory_steps
        return Student(self.lowered, model.parameters, formats, weights, adapters, entries).place(self.device)

    def _groups(self) -> list[dict[str, object]]:
        """The parameters with their rates at the start."""
        options, student = self.options, self.student
        layers = [student.layer(name) for name in student.names]
        groups: list[dict[str, object]] = [
            {
                "params": list(layer.low_rank.parameters()),
                "lr": options.lora_rate * float(layer.scale.detach().mean()),
            }
            for layer in layers
            if layer.low_rank is not None
        ]
        scales = [layer.scale for layer in layers]
        groups.append({"params": scales, "lr": options.weight_scale_rate})
        if student.ratios.scales:
            mean = float(torch.cat([scale.detach().reshape(-1) for scale in scales]).mean())
            rate = options.weight_scale_rate * self.trajectory_steps / mean
            # Without decay: a ratio rests at 1, not at 0.
            groups.append({"params": list(student.ratios.parameters()), "lr": rate, "weight_decay": 0.0})
        operands = [*student.stepped.parameters(), *student.static.parameters()]
        groups.append({"params": operands, "lr": options.activation_scale_rate})
        return [group | {"rate": group["lr"]} for group in groups]

    def _trajectories(
        self, steps: int, batch: int, stream: int | None = None, device: str | None = None
    ) -> Trajectories:
        place = torch.device(device) if device else self.device
        parameters = {name: value.to(place) for name, value in self.student.frozen.items()}
        return Trajectories(
            self.run.model,
            lambda inputs, _: result_of(visits(self.lowered, inputs, parameters)),
            steps=steps,
            batch=batch,
            guidance=self.run.settings.guidance,
            seed=self.run.settings.seed,
            device=place,
            kept=self.run.lessons,
            **({} if stream is None else {"stream": stream}),
        )

    def _at_sampling_steps(self, inputs: Mapping[str, Tensor], entry: int) -> Tensor:
        return result_of(self.student.walk(inputs, self.entries[entry]))

    def _train(self) -> None:
        checkpoint = self._checkpoint()
        first = 0
        if checkpoint is not None:
            first, extra = checkpoint.load(self.student, self.optimizer)
            if first:
                self.lessons.x = torch.from_numpy(extra["x"]).to(self.device)
                self.curve = extra["curve"]
        updates = self.options.updates
        for update in range(first, updates):
            self.run.progress("train", update, updates)
            self._update(update)
            done = update + 1
            if checkpoint is not None and (done % self.options.checkpoint_every == 0 or done == updates):
                extra = {"x": self.lessons.x.cpu().numpy(), "curve": self.curve}
                checkpoint.save(done, self.student, self.optimizer, extra)
        self.run.progress("train", updates, updates)

    def _update(self, update: int) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = group["rate"] * (1 - update / self.options.updates)
        lesson = self.lessons.lesson(update)
        network = lambda inputs, entry: result_of(self.student.walk(inputs, entry))  # noqa: E731
        noise = guided(network, lesson.inputs, lesson.entry, self.lessons.guidance)
        error = mse_loss(noise, lesson.noise)
        if not torch.isfinite(error):
            raise NumericsError(self._not_finite(update, lesson))
        self.optimizer.zero_grad(set_to_none=True)
        (error * self.weights[lesson.entry]).backward()
        self.optimizer.step()
        self.student.keep_scales_positive()
        self._note(update, float(error.detach()), float(lesson.noise.square().mean()))

    def _note(self, update: int, error: float, power: float) -> None:
        """Add to the curve: per trajectory the last update, sums of the noise's error and of its power."""
        row = self.curve[update // self.trajectory_steps]
        row[:] = update + 1, row[1] + error, row[2] + power

    def _not_finite(self, update: int, lesson: Lesson) -> str:
        """Find the first layer that is not finite."""
        where = "loss"
        with torch.no_grad():
            for visit in self.student.walk(lesson.inputs, lesson.entry):
                if not torch.isfinite(visit.value).all():
                    where = visit.node.name
                    break
        return (
            f"{where}: not finite in update {update + 1} of the training (timestep {lesson.timestep}); use "
            "lower rates in the recipe's section training, or remove the checkpoint and start anew"
        )

    def _checkpoint(self) -> Checkpoint | None:
        if self.run.checkpoint is None:
            return None
        training = self.options.model_dump(mode="json", exclude={"checkpoint_every"})
        return Checkpoint(self.run.checkpoint, {**self.run.identity, "training": training})

    def _export(self) -> QuantizedModel:
        """Merged weights as codes, snapped scales, rounded zero-points; carriers calibrated on the result."""
        run = self.run
        weights = self.student.weight_codes(self.entries)
        formats = calibrate(
            run.model,
            self.lowered,
            run.recipe,
            weights,
            run.settings,
            run.progress,
            learned=self.student.learned_formats(self.entries),
        )
        training = Training(
            {
                **self.options.model_dump(mode="json"),
                "seed": run.settings.seed,
                "images": run.settings.images,
            },
            COLUMNS,
            self._finished_curve(),
        )
        return assemble(run.model, run.recipe, self.lowered, weights, formats, run.settings, training)

    def _finished_curve(self) -> np.ndarray:
        """Sums per trajectory as means: loss, and SQNR of the guided noise."""
        counts = np.diff(self.curve[:, 0], prepend=0.0)
        found = self.curve.copy()
        found[:, 1] /= counts
        found[:, 2] = 10 * np.log10(self.curve[:, 2] / np.maximum(self.curve[:, 1], 1e-300))
        return found
