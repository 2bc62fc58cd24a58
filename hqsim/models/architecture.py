"""Diffusers architectures without their weights: how each class is built, called and captured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hqsim.errors import InputError, UnsupportedError
from hqsim.graph import Graph

if TYPE_CHECKING:
    from torch import nn

FOLDERS = {
    "UNet2DModel": "unet",
    "UNet2DConditionModel": "unet",
    "DiTTransformer2DModel": "transformer",
}
"""The supported classes, and the subfolder in which diffusers keeps their weights."""
CONTEXT = "context.weight"
"""Name of the table ``[rows, tokens, dim]`` that stands for the text encoder or class embedder."""


@dataclass(frozen=True)
class Architecture:
    """A model without weights.

    ``module`` lies on the meta device; ``constants`` are the buffers that its graph reads and that are no
    part of a weights file; ``rows`` is the number of labels, the one for "no class" included (0 without).
    """

    module: nn.Module
    graph: Graph
    constants: Mapping[str, np.ndarray]
    sample_shape: tuple[int, int, int]
    rows: int


def build(
    class_name: str, config: Mapping[str, Any], *, context: Sequence[int] | None, train_timesteps: int
) -> Architecture:
    """Instantiate and capture a diffusers class.

    Parameters
    ----------
    class_name, config
        A class of ``FOLDERS`` and its ``config.json``.
    context
        Shape ``[rows, tokens, dim]`` of the context table of a ``UNet2DConditionModel``.
    train_timesteps
        Rows of the sinusoid table.

    Raises
    ------
    InputError
        Labels and context that do not go together.
    UnsupportedError
        An option or an operator that hqsim does not have.
    """
    from hqsim.graph.capture import capture

    module, buffers = _without_weights(class_name, config)
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
        train_timesteps=train_timesteps,
        context_rows=context[0] if context else 0,
        channels=sample_shape[0],
    )
    used = {name for node in graph for name in node.parameters.values()} - module.state_dict().keys()
    return Architecture(
        module=module,
        graph=graph,
        constants={name: buffers[name] for name in sorted(used) if name in buffers},
        sample_shape=sample_shape,
        rows=context[0] if context else rows,
    )


def _without_weights(class_name: str, config: Mapping[str, Any]) -> tuple[Any, dict[str, np.ndarray]]:
    """The module on the meta device, and its buffers with their values."""
    import diffusers

    with _parameters_on_meta():
        module = getattr(diffusers, class_name).from_config(dict(config)).eval()
    buffers = {name: buffer.numpy() for name, buffer in module.named_buffers()}
    return module.to("meta"), buffers


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
