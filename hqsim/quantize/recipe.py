"""Recipes: how a model is quantized, as strict YAML or by name (``method-wXaY``)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator

from hqsim.errors import InputError, unknown_name
from hqsim.io import load_yaml, validate_yaml
from hqsim.quantize.reconstruction import Reconstruction
from hqsim.quantize.training import Distillation

FOLDER = Path(__file__).parent / "recipes"
_NAME = re.compile(r"(?P<method>[a-z][a-z0-9-]*?)-w(?P<weights>\d+)a(?P<activations>\d+)")

WeightBits = Annotated[int, Field(ge=2, le=8)]
ActivationBits = Literal[2, 3, 4, 5, 6, 7, 8, 16]
GroupSize = Annotated[int, Field(ge=2)]
Exponents = Annotated[int, Field(ge=0, le=3)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Weights(_Strict):
    """Weights: symmetric, restricted range, squared-error-optimal scales.

    One scale per output channel, or per ``group_size`` input channels of it.
    """

    bits: WeightBits = 4
    group_size: GroupSize | None = None


class Activations(_Strict):
    """Operands: squared-error-optimal scale (and zero-point), per calibrated timestep or one for all.

    ``symmetric`` codes are signed; the others are unsigned with a zero-point. Under ``split_shortcut`` a
    layer that reads a concatenation along its channels quantizes each side by itself. ``calibration`` says
    which sampling steps the scales are searched on: ``first_step`` takes the one with the most noise for all
    (Yang et al., "An Analysis on Quantizing Diffusion Transformers", 2024), so there is one scale for all.
    ``exponents`` lets a channel's step (in the transformed domain) be up to ``2**exponents`` times the finest
    one (power-of-two factors; Lin et al., FQ-ViT, 2022): as many bits are stored, the multiplier sees that
    many more. Layers along the width or with zero-points cannot have them.
    """

    bits: ActivationBits = 4
    symmetric: bool = True
    per_timestep: bool = True
    split_shortcut: bool = False
    exponents: Exponents = 0
    calibration: Literal["all_steps", "first_step"] = "all_steps"


class Attention(_Strict):
    """Operands of q·k and p·v; ``operand_bits`` null means the activations' bits."""

    operand_bits: ActivationBits | None = None
    probability_bits: ActivationBits = 8


class Carriers(_Strict):
    """Codes between operators."""

    bits: Literal[8, 12, 16] = 16
    margin: Annotated[float, Field(ge=1.0, le=4.0)] = 1.25


class Hadamard(_Strict):
    """The block transform of activations; linear layers always along their channels.

    ``axis`` is that of convolutions, ``none`` leaves them without a transform. ``double`` quantizes the
    weights in the transformed domain, which exists along channels only. ``realisation`` says where the
    inverse of ``single`` happens; the sums are the same, and a layer without a fold takes the run-time one.
    """

    kind: Literal["none", "single", "double"] = "none"
    axis: Literal["none", "width", "channel"] = "width"
    order: Annotated[int, Field(ge=0, le=6)] = 5
    signs: bool = False
    partial: Literal["largest_pow2", "identity"] = "largest_pow2"
    realisation: Literal["runtime", "fold", "parity"] = "runtime"

    @model_validator(mode="after")
    def _double_has_no_width(self) -> Self:
        if self.kind == "double" and self.axis == "width":
            raise ValueError(
                "kind 'double' does not exist along axis 'width'; set axis to 'none' or to 'channel'"
            )
        if self.kind == "double" and self.realisation != "runtime":
            raise ValueError(
                f"realisation '{self.realisation}' is one of kind 'single'; 'double' has no inverse"
            )
        return self


class AccumulatorModel(_Strict):
    """The accumulators that products are simulated with: ``bits`` null means exact sums."""

    bits: Annotated[int, Field(ge=8, le=48)] | None = None
    overflow: Literal["wrap", "saturate"] = "wrap"


class LayerRule(_Strict):
    """An exception: layers whose name matches the wildcard, or one of four groups; later ones win.

    ``@first`` and ``@last`` are the layers that read the sample and that end in the result, ``@time`` is the
    time embedding: the layers that read a sinusoid and nothing else, ``@activation`` those that read an
    activation function (SiLU, GELU). What a rule leaves out stays as it was; ``hadamard`` and ``accumulator``
    are replaced as a whole; ``lora: false`` keeps a trainer from the weights.
    """

    match: Annotated[str, Field(min_length=1)]
    weight_bits: WeightBits | None = None
    group_size: GroupSize | None = None
    activation_bits: ActivationBits | None = None
    symmetric: bool | None = None
    per_timestep: bool | None = None
    split_shortcut: bool | None = None
    exponents: Exponents | None = None
    hadamard: Hadamard | None = None
    accumulator: AccumulatorModel | None = None
    lora: bool | None = None


class Recipe(_Strict):
    """A whole recipe; ``network: transformer`` is one for diffusion transformers alone."""

    name: str = "custom"
    description: str = ""
    network: Literal["any", "transformer"] = "any"
    weights: Weights = Weights()
    activations: Activations = Activations()
    attention: Attention = Attention()
    carriers: Carriers = Carriers()
    hadamard: Hadamard = Hadamard()
    accumulator: AccumulatorModel = AccumulatorModel()
    precompute_temporal: bool = False
    layers: tuple[LayerRule, ...] = ()
    training: Annotated[Distillation | Reconstruction, Field(discriminator="kind")] | None = None

    @model_validator(mode="after")
    def _one_step_gives_one_scale(self) -> Self:
        per_timestep = self.activations.per_timestep or any(rule.per_timestep for rule in self.layers)
        if self.activations.calibration == "first_step" and per_timestep:
            raise ValueError(
                "activations.calibration 'first_step' gives one scale for all timesteps; set per_timestep to "
                "false"
            )
        return self


def list_recipes() -> list[str]:
    """Return the names of the built-in methods; a recipe name adds ``-wXaY``."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def load_recipe(name_or_path: str | Path | Recipe) -> Recipe:
    """Return a recipe: ``method-wXaY`` (for example ``hqdm-w4a4``), a YAML file, or one already loaded.

    Raises
    ------
    InputError
        Unknown method, widths that do not exist, a missing file or a file that breaks the schema.
    """
    if isinstance(name_or_path, Recipe):
        return name_or_path
    name = str(name_or_path)
    if name.endswith((".yaml", ".yml")) or "/" in name:
        path = Path(name_or_path)
        recipe = validate_yaml(load_yaml(path), Recipe)
        return recipe if recipe.name != "custom" else recipe.model_copy(update={"name": path.stem})
    match = _NAME.fullmatch(name)
    if match is None or match["method"] not in list_recipes():
        raise unknown_name("recipe", name, [f"{method}-w4a4" for method in list_recipes()])
    weights, activations = int(match["weights"]), int(match["activations"])
    if not 2 <= weights <= 8:
        raise InputError(f"recipe '{name}': weights: got {weights} bits, allowed 2 to 8 (as in '-w4a4')")
    if activations not in get_args(ActivationBits):
        raise InputError(
            f"recipe '{name}': activations: got {activations} bits, allowed 2 to 8, or 16 (as in '-w4a4')"
        )
    recipe = validate_yaml(load_yaml(FOLDER / f"{match['method']}.yaml", own=True), Recipe)
    return recipe.model_copy(
        update={
            "name": name,
            "weights": recipe.weights.model_copy(update={"bits": weights}),
            "activations": recipe.activations.model_copy(update={"bits": activations}),
        }
    )
