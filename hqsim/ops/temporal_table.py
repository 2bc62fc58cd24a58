"""Look-up of a temporal feature: a row of carrier codes per calibrated timestep, made offline.

What depends on the timestep alone takes as many values as a run has steps (Huang et al., TFMQ-DM, section 4),
so the layers behind it can be replaced by their results.
"""

from __future__ import annotations

import numpy as np

from hqsim.errors import InputError
from hqsim.ops.base import Operator


class TemporalTable(Operator):
    """``timestep -> row``; the rows stand in the order of the calibrated timesteps."""

    name = "temporal_table"
    vector_kind = "table"

    def shape(self, node, inputs):
        """What the node says."""
        return node.type.shape

    def evaluate(self, node, inputs, parameters):
        """The real values of the rows."""
        matches = parameters[node.parameters["timesteps"]][None] == inputs[0][:, None]
        _require(node, bool(matches.any(1).all()), inputs[0].tolist())
        return parameters[node.parameters["table"]][matches.int().argmax(1)]

    def prepare(self, node, preparation):
        """Codes of every row, and the timesteps that the rows stand for."""
        return {
            "table": preparation.output(node).encode(preparation.parameters[node.parameters["table"]]),
            "timesteps": preparation.parameters[node.parameters["timesteps"]].astype(np.int64),
        }

    def integer(self, node, arrays, inputs, output):
        """Rows by comparison with all timesteps of the table."""
        matches = arrays["timesteps"][None] == inputs[0][:, None]
        _require(node, bool(matches.any(1).all()), inputs[0].tolist())
        return arrays["table"][matches.argmax(1)], 0

    def exact(self, node, arrays, inputs, output):
        """Rows from a dictionary, one by one."""
        rows = dict(zip(arrays["timesteps"].tolist(), arrays["table"], strict=True))
        asked = [int(timestep) for timestep in inputs[0]]
        _require(node, set(asked) <= set(rows), asked)
        return np.stack([rows[timestep] for timestep in asked]), 0

    def record(self, node, context):
        """One row read per step, shared by the batch; a row per step of the run stays in memory."""
        record = self.vector_record(node, context)
        size = node.type.elements * record.output.bits / 8
        return record._replace(inputs=(), table_bytes=size, table_bytes_all_steps=size * context.table_steps)


def _require(node, found: bool, timesteps: list[int]) -> None:
    """Refuse a timestep without a row: the row of another one would be another feature."""
    if not found:
        raise InputError(
            f"'{node.name}': timesteps {sorted(set(timesteps))} are not all in its table of precomputed "
            "temporal features; run with the number of steps that the model was quantized with, or quantize "
            "it with precompute_temporal: false"
        )
