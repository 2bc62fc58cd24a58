"""Look-ups by an integer: sinusoid of the timestep and class embedding, as tables of carrier codes."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from hqsim.numerics import Format
from hqsim.ops.base import Operator


def sinusoid(timesteps: np.ndarray, node) -> np.ndarray:
    """Return the float64 timestep embedding ``[n, dim]`` (diffusers' ``get_timestep_embedding``).

    ``exp(-ln(max_period) i / (half - shift))`` times the timestep, then sine and cosine (or cosine first).
    """
    attributes = node.attributes
    half = attributes["dim"] // 2
    exponent = -math.log(attributes["max_period"]) * np.arange(half) / (half - attributes["freq_shift"])
    angle = attributes["scale"] * np.asarray(timesteps, np.float64)[:, None] * np.exp(exponent)[None]
    halves = (np.sin(angle), np.cos(angle))
    return np.concatenate(halves[::-1] if attributes["flip_sin_to_cos"] else halves, axis=-1)


class _Lookup(Operator):
    vector_kind = "table"

    def integer(self, node, arrays, inputs, output):
        """Row of the table."""
        return arrays["table"][inputs[0]], 0

    def exact(self, node, arrays, inputs, output):
        """Row of the table, one by one."""
        return np.stack([arrays["table"][int(row)] for row in inputs[0]]), 0

    def record(self, node, context):
        """One row read per step; the table of all rows stays in memory."""
        size = node.type.elements * context.uses[node.name].bits / 8
        rows = node.attributes["rows"]
        return self.vector_record(
            node, context, inputs=(), table_bytes=size, table_bytes_all_steps=size * rows
        )


class TimestepEmbedding(_Lookup):
    """Sinusoid of the timestep: an int16 row per training timestep, scale 2**-15."""

    name = "timestep_embedding"

    def shape(self, node, inputs):
        """``[dim]``."""
        return (node.attributes["dim"],)

    def evaluate(self, node, inputs, parameters):
        """The sinusoid in the type of the parameters (float32 models take diffusers' float32 angles)."""
        import torch
        from diffusers.models.embeddings import get_timestep_embedding

        attributes = node.attributes
        embedding = get_timestep_embedding(
            inputs[0],
            attributes["dim"],
            flip_sin_to_cos=attributes["flip_sin_to_cos"],
            downscale_freq_shift=attributes["freq_shift"],
            scale=attributes["scale"],
            max_period=attributes["max_period"],
        )
        return embedding.to(next(iter(parameters.values())).dtype if parameters else torch.float32)

    def output_format(self, node, inputs, carrier):
        """Sines fill the signed range."""
        return replace(carrier, scales=(2.0 ** (1 - carrier.bits),))

    def prepare(self, node, preparation):
        """Codes of every training timestep."""
        table = sinusoid(np.arange(node.attributes["rows"]), node)
        return {"table": preparation.output(node).encode(table)}


class Embedding(_Lookup):
    """Rows of a table by class label: one vector, or a context of ``tokens`` vectors (0: one vector)."""

    name = "embedding"

    def shape(self, node, inputs):
        """``[dim]`` or ``[tokens, dim]``."""
        tokens, dim = node.attributes["tokens"], node.attributes["dim"]
        return (tokens, dim) if tokens else (dim,)

    def evaluate(self, node, inputs, parameters):
        """Torch embedding."""
        return parameters[node.parameters["weight"]][inputs[0]]

    def output_format(self, node, inputs, carrier: Format):
        """The calibrated carrier."""
        return carrier

    def prepare(self, node, preparation):
        """Codes of the whole table."""
        return {"table": preparation.output(node).encode(preparation.parameters[node.parameters["weight"]])}
