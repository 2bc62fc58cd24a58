"""Diffusers architectures: how each class is made without memory for its weights, called and captured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from hqsim.errors import InputError, UnsupportedError
from hqsim.graph.garbage import uncollected
from hqsim.models.architecture import Architecture, Blueprint, Parameter

if TYPE_CHECKING:
    from torch import nn


def build(blueprint: Blueprint) -> Architecture:
    """Instantiate and capture a diffusers class.

    Raises
    ------
    InputError
        Labels and context that do not go together.
    UnsupportedError
        An option or an operator that hqsim does not have.
    """
    with uncollected():
        return _build(blueprint)


def _build(blueprint: Blueprint) -> Architecture:
    from hqsim.graph.capture import capture

    class_name, context = blueprint.class_name, blueprint.context
    module, buffers = instantiate(blueprint)
    rows = _label_rows(class_name, module.config)
    if context is not None and rows not in (0, context[0]):
        raise InputError(
            f"{class_name}: got {rows} class embeddings and {context[0]} rows of context; give one row per "
            "label"
        )
    size = module.config.sample_size
    height, width = (size, size) if isinstance(size, int) else size
    sample_shape = (module.config.in_channels, height, width)
    graph = capture(
        module,
        _example(class_name, sample_shape, rows=rows, context=context),
        train_timesteps=blueprint.train_timesteps,
        context_rows=context[0] if context else 0,
        channels=sample_shape[0],
    )
    parameters = parameters_of(module)
    used = {name for node in graph for name in node.parameters.values()} - parameters.keys()
    return Architecture(
        graph=graph,
        parameters=parameters,
        constants=tuple(name for name in sorted(used) if name in buffers),
        sample_shape=sample_shape,
        rows=context[0] if context else rows,
    )


def instantiate(blueprint: Blueprint) -> tuple[Any, dict[str, np.ndarray]]:
    """Return the module on the meta device, and its buffers with their values."""
    import diffusers

    with _parameters_on_meta():
        module = getattr(diffusers, blueprint.class_name).from_config(dict(blueprint.config)).eval()
    buffers = {name: buffer.numpy() for name, buffer in module.named_buffers()}
    return module.to("meta"), buffers


def parameters_of(module: nn.Module) -> dict[str, Parameter]:
    """Return the tensors of a module's weights file, in its order."""
    from torch import nn

    roles = {}
    for path, layer in module.named_modules(remove_duplicate=False):
        for name, _ in layer.named_parameters(recurse=False):
            role = "product"
            if name == "bias":
                role = "bias"
            elif isinstance(layer, nn.GroupNorm | nn.LayerNorm):
                role = "norm"
            elif isinstance(layer, nn.Embedding):
                role = "embedding"
            roles[f"{path}.{name}".removeprefix(".")] = role
    return {
        name: Parameter(roles.get(name, "buffer"), tuple(tensor.shape))
        for name, tensor in module.state_dict().items()
    }


class Constants(Mapping[str, np.ndarray]):
    """Buffers of a diffusers class by name; the class is made when the first one is read."""

    def __init__(self, names: Sequence[str], blueprint: Blueprint) -> None:
        self._names = tuple(names)
        self._blueprint = blueprint
        self._values: dict[str, np.ndarray] = {}

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self._names:
            raise KeyError(name)
        if not self._values:
            self._values = instantiate(self._blueprint)[1]
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


@contextmanager
def _parameters_on_meta() -> Iterator[None]:
    """Modules made in here have no memory for their parameters; their buffers are real."""
    from torch import nn

    register = nn.Module.register_parameter

    def on_meta(self: nn.Module, name: str, param: nn.Parameter | None) -> None:
        register(self, name, None if param is None else nn.Parameter(param.to("meta")))

    nn.Module.register_parameter = on_meta  # type: ignore[method-assign]
    try:
        yield
    finally:
        nn.Module.register_parameter = register  # type: ignore[method-assign]


def _label_rows(class_name: str, config: Any) -> int:
    if class_name == "DiTTransformer2DModel":
        return config.num_embeds_ada_norm + 1
    if config.class_embed_type is not None:
        raise UnsupportedError(
            f"{class_name}: class_embed_type: got '{config.class_embed_type}', supported: null"
        )
    return config.num_class_embeds or 0


def _example(
    class_name: str, sample_shape: tuple[int, int, int], *, rows: int, context: Sequence[int] | None
) -> dict[str, Any]:
    import torch

    from hqsim.graph.capture import BATCH

    sample = "hidden_states" if class_name == "DiTTransformer2DModel" else "sample"
    with torch.device("meta"):
        example = {
            sample: torch.zeros(BATCH, *sample_shape),
            "timestep": torch.zeros(BATCH, dtype=torch.int64),
        }
        if rows:
            example["class_labels"] = torch.zeros(BATCH, dtype=torch.int64)
        if context:
            example["encoder_hidden_states"] = torch.zeros(BATCH, *context[1:])
    return example
