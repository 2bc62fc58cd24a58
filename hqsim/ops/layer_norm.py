"""LayerNorm in integers: the formula of GroupNorm (NUMERICS, section 6) for each row along the last axis."""

from __future__ import annotations

import numpy as np

from hqsim.ops.base import Operator, scalar
from hqsim.ops.group_norm import normalization_arrays, normalize_exact


class LayerNorm(Operator):
    """``[..., n]`` normalised along the last axis; gain and offset ``[n]`` where the model has them."""

    name = "layer_norm"
    vector_kind = "norm"

    def evaluate(self, node, inputs, parameters):
        """Torch layer_norm."""
        from torch.nn.functional import layer_norm

        gain, offset = (
            parameters[node.parameters[role]] if role in node.parameters else None
            for role in ("weight", "bias")
        )
        return layer_norm(inputs[0], inputs[0].shape[-1:], gain, offset, node.attributes["eps"])

    def prepare(self, node, preparation):
        """Gain and offset per element of a row (1 and 0 without them), epsilon in code units."""
        n = node.type.shape[-1]
        gain, offset = (
            preparation.parameters[node.parameters[role]].astype(np.float64)
            if role in node.parameters
            else np.full(n, plain)
            for role, plain in (("weight", 1.0), ("bias", 0.0))
        )
        return normalization_arrays(
            gain[None],
            offset[None],
            n=n,
            eps=node.attributes["eps"],
            source=preparation.inputs(node)[0],
            target=preparation.output(node),
            what=node.name,
        )

    def integer(self, node, arrays, inputs, output):
        """Kernel ``normalize_rows``."""
        from hqsim.kernels.layer_norm import normalize_rows

        x = np.ascontiguousarray(inputs[0])
        codes = np.empty(x.shape, output.dtype)
        saturated = normalize_rows(
            x.reshape(-1, x.shape[-1]),
            scalar(arrays["fraction"]),
            scalar(arrays["epsilon"]),
            arrays["gain"][0],
            scalar(arrays["gain_bits"]),
            arrays["offset"][0],
            np.int64(output.low),
            np.int64(output.high),
            codes.reshape(-1, x.shape[-1]),
        )
        return codes, int(saturated)

    def exact(self, node, arrays, inputs, output):
        """Plain rows."""
        x = inputs[0]
        codes, saturated = normalize_exact(x.reshape(-1, x.shape[-1], 1), arrays, output)
        return codes.reshape(x.shape), saturated
