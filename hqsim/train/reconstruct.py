"""Reconstruction of one unit: its weights' roundings are learned so that it gives what the float unit gives.

    loss = Σ_outputs mean_rows Σ_features (f̂(x̂) - f(x))² + λ Σ penalty_β

as BRECQ (Li et al., 2021) and, for the temporal information block with all its embeddings as outputs, TFMQ-DM
(Huang et al., 2024, section 4.2) state it. The penalty waits for the warm-up; then β falls linearly.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from hqsim.errors import NumericsError
from hqsim.graph.walk import walk
from hqsim.ops import OPERATORS, WeightCodes
from hqsim.quantize.reconstruction import Reconstruction
from hqsim.train.lora import generator_of
from hqsim.train.rounding import AdaptiveRounding
from hqsim.train.units import Unit

ROWS = 64
"""Rows that a unit is evaluated on at once, outside of training."""
Tensors = Mapping[str, Tensor]


def evaluate(unit: Unit, given: Tensors, parameters: Tensors) -> dict[str, Tensor]:
    """Return the unit's outputs; operands are not quantized, gradients flow to ``parameters``."""
    visits = walk(
        unit.part, given, lambda node, inputs: OPERATORS[node.op].evaluate(node, inputs, parameters)
    )
    return {visit.node.name: visit.value for visit in visits if visit.node.name in unit.outputs}


@torch.no_grad()
def evaluate_all(unit: Unit, given: Tensors, parameters: Tensors, device: str) -> dict[str, Tensor]:
    """Return the unit's outputs for any number of rows."""
    parts = [evaluate(unit, rows, parameters) for rows in in_parts(given, device)]
    return {name: torch.cat([part[name].cpu() for part in parts]) for name in unit.outputs}


def in_parts(given: Tensors, device: str) -> Iterator[dict[str, Tensor]]:
    """Yield ``given`` in parts of a few rows, on the device."""
    for first in range(0, len(next(iter(given.values()))), ROWS):
        yield {name: value[first : first + ROWS].to(device) for name, value in given.items()}


def distance(outputs: Tensors, targets: Tensors) -> Tensor:
    """Return the squared error, summed over outputs and features, mean over rows, pixels and tokens."""
    errors = (outputs[name] - target for name, target in targets.items())
    return torch.stack([error.square().sum(1 if error.ndim == 4 else -1).mean() for error in errors]).sum()


def beta_at(update: int, updates: int, settings: Reconstruction) -> float | None:
    """Return the penalty's exponent at an update; None while the warm-up lasts."""
    first = settings.warm_up * updates
    if update < first:
        return None
    passed = (update - first) / (updates - first)
    return settings.beta_start + (settings.beta_end - settings.beta_start) * passed


class UnitReconstruction:
    """The learned roundings of one unit.

    Parameters
    ----------
    unit
        What is reconstructed.
    roundings
        By name of the weight.
    parameters
        All parameters that the unit reads, real weights among them.
    inputs
        Rows of what the unit reads in the quantized model.
    targets
        The same rows of what the float unit gives; None where it reads the same inputs, and gives them when
        they are needed.
    """

    def __init__(
        self,
        unit: Unit,
        roundings: Mapping[str, AdaptiveRounding],
        parameters: Tensors,
        inputs: Tensors,
        targets: Tensors | None,
        *,
        settings: Reconstruction,
        seed: int,
        device: str,
    ) -> None:
        self.unit = unit
        self.roundings = roundings
        self.network = nn.ModuleList(roundings.values()).to(device)
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=settings.rate)
        self.parameters = parameters
        self.inputs, self.targets = inputs, targets
        self.settings = settings
        self.seed = seed
        self.device = device

    def update(self, number: int) -> tuple[float, float]:
        """Make update ``number`` and return the squared error and the weighted penalty before it.

        Raises
        ------
        NumericsError
            When the loss is not finite, with the unit and the update.
        """
        rows = len(next(iter(self.inputs.values())))
        generator = generator_of(self.seed, f"{self.unit.name}/{number}")
        pick = torch.randperm(rows, generator=generator)[: self.settings.batch]
        inputs = {name: value[pick].to(self.device) for name, value in self.inputs.items()}
        learned = {name: rounding.weight() for name, rounding in self.roundings.items()}
        outputs = evaluate(self.unit, inputs, {**self.parameters, **learned})
        error = distance(outputs, self._targets(inputs, pick))
        penalty = torch.zeros_like(error)
        beta = beta_at(number, self.settings.updates, self.settings)
        if beta is not None:
            terms = [rounding.penalty(beta) for rounding in self.roundings.values()]
            penalty = self.settings.regulariser * torch.stack(terms).sum()
        loss = error + penalty
        if not torch.isfinite(loss):
            raise NumericsError(
                f"reconstruction of '{self.unit.name}': the loss of update {number + 1} is {loss.item()}; "
                "its weights or its inputs are too large, or not finite"
            )
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        return float(error.detach()), float(penalty.detach())

    @torch.no_grad()
    def error(self, weights: Tensors) -> float:
        """Return the squared error over all rows with the given weights."""
        total, first = 0.0, 0
        for inputs in in_parts(self.inputs, self.device):
            count = len(next(iter(inputs.values())))
            targets = self._targets(inputs, torch.arange(first, first + count))
            found = distance(evaluate(self.unit, inputs, {**self.parameters, **weights}), targets)
            total += float(found) * count
            first += count
        return total / first

    def codes(self) -> dict[str, WeightCodes]:
        """Return the weights rounded as learned so far."""
        return {name: rounding.codes() for name, rounding in self.roundings.items()}

    @torch.no_grad()
    def _targets(self, inputs: Tensors, pick: Tensor) -> dict[str, Tensor]:
        if self.targets is None:
            return evaluate(self.unit, inputs, self.parameters)
        return {name: value[pick].to(self.device) for name, value in self.targets.items()}
