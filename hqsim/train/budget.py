"""What one distillation update takes, computed from shapes: ``python -m hqsim.train.budget MODEL``.

    operations   4 x products of the student (forward 1, backward 2) and of the teacher (forward 1)
    frozen       float weights, shared by student and teacher, 4 bytes each
    weights      per product: merged and quantized weight, steps and codes of its quantizer, gradient, 4 bytes
    learned      low-rank factors, weight scales, their ratios per timestep if the recipe learns them: value,
                 gradient and two moments, 4 bytes each
    activations  results of nodes that are no views, 4 bytes; per operand steps, codes and value, 4 bytes each

Computed, not measured: no allocator, no workspace of convolutions, nothing recomputed in the backward pass.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass

from hqsim.errors import InputError
from hqsim.models import load_model
from hqsim.ops import OPERATORS
from hqsim.ops.quantize import FACTOR_BYTES
from hqsim.ops.records import macs_by_layer
from hqsim.quantize.lower import layer_plans, lower
from hqsim.quantize.recipe import Recipe, load_recipe
from hqsim.quantize.training import Distillation

FLOAT_BYTES = 4
SAMPLING_STEPS = 20
"""Entries of the tables where a recipe trains on the steps of the sampling."""


@dataclass(frozen=True, kw_only=True)
class Budget:
    """One update of ``images`` images: operations, bytes of memory, and what is stored per timestep entry."""

    samples: int
    macs: int
    frozen_bytes: int
    weight_bytes: int
    learned_bytes: int
    activation_bytes: int
    code_bytes: float
    scale_bytes: float

    @property
    def total_bytes(self) -> int:
        """Memory of an update."""
        return self.frozen_bytes + self.weight_bytes + self.learned_bytes + self.activation_bytes

    def seconds(self, tflops: float) -> float:
        """Time at ``tflops`` sustained (a multiply-accumulate is two operations)."""
        return 2 * self.macs / (tflops * 1e12)


def budget(model_name: str, recipe: Recipe, *, images: int | None = None) -> Budget:
    """Compute the budget of an update.

    Parameters
    ----------
    model_name
        A built-in name or a diffusers folder; no weights are read.
    recipe
        A recipe with ``training: {kind: distill}``.
    images
        Images per update, the recipe's when None; guidance doubles the samples.

    Raises
    ------
    InputError
        For a recipe that does not distil.
    """
    if not isinstance(recipe.training, Distillation):
        raise InputError(
            f"recipe '{recipe.name}': training: a budget needs one of kind 'distill' (hqdm-w4a4)"
        )
    model = load_model(model_name, weights=False)
    lowered, plans = lower(model.graph, recipe), layer_plans(model.graph, recipe)
    samples = (images or recipe.training.batch) * (1 if model.guidance == 1.0 else 2)
    entries = recipe.training.trajectory_steps or SAMPLING_STEPS
    per_output = 1 + (entries if recipe.training.weight_scales == "per_timestep" else 0)
    weights = learned = scales = floats = 0
    codes = 0.0
    for node in lowered:
        if "weight" in node.parameters and node.name in plans:
            count, outputs = _weight_size(node.type.shape, node.attributes, lowered, node.inputs)
            inputs = count // outputs
            rank = min(recipe.training.lora_rank, outputs, inputs) if plans[node.name].lora else 0
            floats += count
            weights += count * (5 if rank else 4)
            learned += rank * (outputs + inputs) + outputs * per_output
            scales += outputs
            codes += count * plans[node.name].weight_bits / 8
    activations = 0
    for node in lowered:
        if node.op == "quantize":
            activations += 3 * node.type.elements
        elif node.op != "input" and not OPERATORS[node.op].is_view:
            activations += node.type.elements
    return Budget(
        samples=samples,
        macs=4 * samples * sum(macs_by_layer(lowered).values()),
        frozen_bytes=FLOAT_BYTES * floats,
        weight_bytes=FLOAT_BYTES * weights,
        learned_bytes=4 * FLOAT_BYTES * learned,
        activation_bytes=FLOAT_BYTES * samples * activations,
        code_bytes=codes,
        scale_bytes=FACTOR_BYTES * scales,
    )


def _weight_size(shape, attributes, lowered, inputs) -> tuple[int, int]:
    """Elements of a product's weight, and its outputs."""
    kernel = attributes.get("kernel")
    axis = 0 if kernel else -1
    depth = sum(lowered[name].type.shape[axis] for name in inputs)
    outputs = shape[axis]
    taps = math.prod(kernel[1:]) if kernel else 1
    return outputs * depth * taps // int(attributes.get("groups", 1)), outputs


def main() -> None:
    """Print the budget of a model, labelled as computed."""
    parser = argparse.ArgumentParser(
        description="Memory and time of one distillation update, computed from shapes."
    )
    parser.add_argument("model", help="a built-in name (ldm4-imagenet) or a diffusers folder")
    parser.add_argument("--recipe", default="hqdm-w4a4")
    parser.add_argument("--images", type=int, default=None, help="images per update (default: the recipe's)")
    parser.add_argument(
        "--tflops", type=float, default=60.0, help="sustained speed that time is computed with"
    )
    arguments = parser.parse_args()
    recipe = load_recipe(arguments.recipe)
    found = budget(arguments.model, recipe, images=arguments.images)
    assert isinstance(recipe.training, Distillation)
    entries, updates = SAMPLING_STEPS, recipe.training.updates
    seconds = found.seconds(arguments.tflops)
    print(f"{arguments.model}, {recipe.name}: one update of {found.samples} samples, computed from shapes")
    for name in ("frozen", "weight", "learned", "activation", "total"):
        print(f"  {name:<11} {getattr(found, f'{name}_bytes') / 2**30:8.2f} GiB")
    print(f"  operations  {2 * found.macs / 1e12:8.2f} TFLOP")
    print(f"  time        {seconds:8.3f} s at {arguments.tflops:g} TFLOP/s sustained (assumed)")
    print(f"  {updates} updates {seconds * updates / 3600:6.1f} h")
    print("weight scales per timestep would store, computed:")
    print(f"  codes per step  {found.code_bytes * entries / 2**20:10.1f} MiB in {entries} entries")
    print(f"  scale only      {found.code_bytes / 2**20 + found.scale_bytes * entries / 2**20:10.1f} MiB")


if __name__ == "__main__":
    main()
