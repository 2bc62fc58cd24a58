"""What is compared: variants of the table, of the ablation and of the further studies, in running order."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache, cached_property
from itertools import product
from typing import Any

from hqsim.quantize import Recipe, load_recipe
from hqsim.quantize.recipe import Hadamard

MODEL = "digits"
METHODS = ("ptq", "efficientdm", "double", "hqdm", "hqdm-channel")
TRAINED = METHODS[1:]
LOSSES = ("noise", "sample")
WIDTHS = ("w4a4", "w4a3", "w8a8", "w4a8", "w8a4", "w3a4", "w2a4")
"""The widths of the paper's tables, the two that its images and curves show first."""
SHOWN_WIDTHS = WIDTHS[:2]
ABLATION_WIDTH = "w4a4"
ORDERS, AXES = (3, 4, 5, 6), ("width", "channel")
HIGHEST_FITTING_ORDER = 4
MIXED = "hqdm-mixed"
"""hqdm-channel with EfficientDM's codes behind activation functions."""
EXPONENTS = "hqdm-exponents"
"""hqdm-channel with steps of channels that are powers of two apart."""
DISTILLED = (*TRAINED, MIXED, EXPONENTS)
REPEATED, SEEDS = ("efficientdm", "hqdm-channel"), (0, 1)
LONGER = 4
"""The budgets of a longer training."""
TFMQ_WIDTHS = ("w4a8", "w8a8")
TRAINING = {"lora_rate": 0.0016}
"""What `digits` is distilled with instead of the recipes' own: four times EfficientDM's low-rank rate."""

RATED_BITS = 4
"""The widest weights that EfficientDM's low-rank rate is good for."""


@dataclass(frozen=True)
class Transform:
    """The Hadamard of a variant: single, or double where the method is `double`."""

    order: int
    axis: str
    signs: bool

    @property
    def text(self) -> str:
        """``k = 3, channel, signs``."""
        return f"k = {self.order}, {self.axis}, {'signs' if self.signs else 'no signs'}"


@dataclass(frozen=True)
class Variant:
    """One quantized model: a recipe, another transform in it, trained or calibrated only.

    ``loss`` is what a distillation minimises. ``seed`` counts from the settings' own: another one has other
    calibration images, low-rank starts and training samples. ``budgets`` is how many times the settings'
    updates a distillation takes.
    """

    method: str
    widths: str
    trained: bool
    transform: Transform | None = None
    loss: str = "noise"
    seed: int = 0
    budgets: int = 1

    @property
    def name(self) -> str:
        """The name of its folders."""
        changed = self.transform
        extra = f"-order{changed.order}-{changed.axis}{'-signs' * changed.signs}" if changed else ""
        started = "-untrained" if self.method != "ptq" and not self.trained else ""
        weighed = f"-{self.loss}-loss" if self.loss != "noise" else ""
        repeated = f"-seed{self.seed}" if self.seed else ""
        longer = f"-budget{self.budgets}" if self.budgets > 1 else ""
        return f"{self.method}{extra}-{self.widths}{started}{weighed}{repeated}{longer}"

    @cached_property
    def recipe(self) -> Recipe:
        """The recipe."""
        recipe = load_recipe(f"{self.method}-{self.widths}")
        if self.loss != "noise":
            recipe = with_training(recipe, {"loss": self.loss})
        if self.transform is None:
            return recipe
        hadamard = Hadamard(
            kind="double" if self.method == "double" else "single",
            axis="width" if self.transform.axis == "width" else "channel",
            order=self.transform.order,
            signs=self.transform.signs,
        )
        return recipe.model_copy(update={"name": self.name, "hadamard": hadamard})

    @cached_property
    def lora_factor(self) -> float:
        """What the low-rank rate of a distillation is multiplied with: above 4 bits it counts in such steps.

        EfficientDM's does not know the width: it is in weight scales, which halve with every bit.
        """
        trained = self.method in DISTILLED and self.trained
        return 2.0 ** max(0, self.recipe.weights.bits - RATED_BITS) if trained else 1.0

    @cached_property
    def key(self) -> str:
        """A hash of the recipe and its rates: results of others are not taken for this variant's.

        Defaults are left out, so that an option that recipes gain later changes no key.
        """
        text = json.dumps(self.recipe.model_dump(mode="json", exclude_defaults=True), sort_keys=True)
        if self.lora_factor != 1:
            text += json.dumps({"lora_rate": self.lora_factor})
        if self.budgets > 1:
            text += json.dumps({"budgets": self.budgets})
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@cache
def table_variants() -> tuple[Variant, ...]:
    """The paper's table: every method at every width, trained where it trains."""
    return tuple(Variant(method, widths, method in TRAINED) for widths, method in product(WIDTHS, METHODS))


@cache
def start_variants() -> tuple[Variant, ...]:
    """The untrained starts of the trained methods, those of our own recipes last."""
    table = (Variant(method, widths, True) for widths, method in product(SHOWN_WIDTHS, TRAINED))
    trained = (*table, *mixed_variants(), *exponent_variants(), *double_channel_variants())
    return tuple(replace(variant, trained=False) for variant in trained)


@cache
def ablation_variants() -> tuple[tuple[Transform, Variant], ...]:
    """Every order, axis and sign; the two that have a method's name are that method."""
    transforms = [
        Transform(order, axis, signs)
        for axis, signs, order in product(AXES, (False, True), ORDERS)
    ]  # fmt: skip
    named = {Transform(5, "width", False): "hqdm", Transform(3, "channel", True): "hqdm-channel"}
    return tuple(
        (
            transform,
            Variant(named[transform], ABLATION_WIDTH, True)
            if transform in named
            else Variant("hqdm", ABLATION_WIDTH, True, transform),
        )
        for transform in transforms
    )


@cache
def traded_variants() -> tuple[Variant, ...]:
    """Quality over bit operations: the methods, then the transforms of the ablation."""
    methods = (Variant(method, ABLATION_WIDTH, method in TRAINED) for method in METHODS)
    doubles = (variant for variant in double_channel_variants() if variant.widths == ABLATION_WIDTH)
    return tuple(dict.fromkeys((*methods, *doubles, *(variant for _, variant in ablation_variants()))))


@cache
def higher_order_variants() -> tuple[Variant, ...]:
    """hqdm-channel with the highest order whose operands fit 8 bits at both shown widths."""
    transform = Transform(HIGHEST_FITTING_ORDER, "channel", True)
    return tuple(Variant("hqdm-channel", widths, True, transform) for widths in SHOWN_WIDTHS)


@cache
def double_channel_variants() -> tuple[Variant, ...]:
    """Double Hadamard of convolutions too, by the transform of hqdm-channel."""
    return tuple(Variant("double", widths, True, Transform(3, "channel", True)) for widths in SHOWN_WIDTHS)


@cache
def mixed_variants() -> tuple[Variant, ...]:
    """The single Hadamard only where operands reach to both sides, under the published loss."""
    return tuple(Variant(MIXED, widths, True) for widths in SHOWN_WIDTHS)


@cache
def exponent_variants() -> tuple[Variant, ...]:
    """The single Hadamard whose channels have exponents, under the published loss."""
    return tuple(Variant(EXPONENTS, widths, True) for widths in SHOWN_WIDTHS)


@cache
def sample_loss_variants() -> tuple[tuple[Variant, Variant], ...]:
    """The trained methods under the published loss and under that of the next sample."""
    ours = ("efficientdm", "hqdm-channel")
    return tuple(
        (variant, replace(variant, loss="sample"))
        for variant in (
            *(Variant(method, widths, True) for widths, method in product(SHOWN_WIDTHS, ours)),
            *mixed_variants(),
            *exponent_variants(),
            *double_channel_variants(),
            *(Variant(method, widths, True) for widths, method in product(SHOWN_WIDTHS, ("hqdm", "double"))),
        )
    )


@cache
def repeated_variants() -> tuple[tuple[Variant, ...], ...]:
    """What our own aim compares, each from all seeds: how far apart trainings of one recipe end."""
    methods = (Variant(method, widths, True) for widths, method in product(SHOWN_WIDTHS, REPEATED))
    first = product(LOSSES, (*methods, *exponent_variants(), *double_channel_variants()))
    return tuple(tuple(replace(variant, loss=loss, seed=seed) for seed in SEEDS) for loss, variant in first)


@cache
def longer_variants() -> tuple[tuple[Variant, Variant], ...]:
    """What our own aim compares, with the budget of the table and with a longer one."""
    cases = product(SHOWN_WIDTHS, LOSSES, REPEATED)
    variants = (Variant(method, widths, True, loss=loss) for widths, loss, method in cases)
    return tuple((variant, replace(variant, budgets=LONGER)) for variant in variants)


def rivals(ours: Variant) -> list[Variant]:
    """What stands in the table at the widths of ``ours``, itself left out; trained methods with its loss."""
    trained = (Variant(method, ours.widths, True, loss=ours.loss) for method in TRAINED)
    return [Variant("ptq", ours.widths, False), *(each for each in trained if each != ours)]


@cache
def tfmq_variants() -> tuple[Variant, ...]:
    """TFMQ-DM, calibrated only and reconstructed, to stand beside plain PTQ."""
    return tuple(Variant("tfmq", *case) for case in product(TFMQ_WIDTHS, (False, True)))


def with_training(recipe: Recipe, changes: Mapping[str, Any], lora_factor: float = 1.0) -> Recipe:
    """Return a recipe that distils with other hyper-parameters, checked like a file; others as they are.

    ``lora_factor`` multiplies the low-rank rate that results. What the recipe leaves open stays open: a
    shorter run decides it (``Distillation.resized``).
    """
    if recipe.training is None or recipe.training.kind != "distill":
        return recipe
    training = {**recipe.training.model_dump(exclude_unset=True), **changes}
    if lora_factor != 1:
        training["lora_rate"] = training.get("lora_rate", recipe.training.lora_rate) * lora_factor
    return Recipe.model_validate({**recipe.model_dump(), "training": training})
