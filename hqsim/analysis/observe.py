"""What the integer run sees: operand codes at the multiplier, toggling bits, the range of the sums."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from hqsim.analysis.trajectory import follow
from hqsim.errors import InputError
from hqsim.graph import Node
from hqsim.graph.walk import Visit
from hqsim.ops.quantize import channels_last
from hqsim.ops.realisation import has_parity, inverse_of, multiplier_bits
from hqsim.ops.sums import operand_integer

if TYPE_CHECKING:
    import pandas as pd

    from hqsim.quantize import QuantizedModel
    from hqsim.simulate.executors import CodeExecutor
    from hqsim.simulate.sampler import Progress, SamplingSettings

TOGGLES = tuple(f"toggle_percent_{bit}" for bit in range(16))


def observe(
    qmodel: QuantizedModel, settings: SamplingSettings, layers: Sequence[str], progress: Progress
) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, np.ndarray]]:
    """Run the integer model and return what its products saw.

    Parameters
    ----------
    qmodel
        The quantized model; its float weights are not read.
    settings
        The integer model's trajectory.
    layers
        Names of layers, or wildcards, whose operand codes are returned themselves, of the first 16 images of
        the batch at the first, the middle and the last step.

    Returns
    -------
    codes
        One row per ``layer``, ``operand``, ``step``, ``timestep``. Of the operand as the multiplier gets it:
        ``zero_percent``, ``lowest``, ``highest``, and ``toggle_percent_0`` to ``_15``, the share of
        neighbours along the reduction (input channels, in the order of memory) in which this bit of the two's
        complement changes; missing beyond the operand's width, and where the reduction has one channel alone.
        ``saturated_percent`` of the stored codes were clamped.
    accumulators
        One row per ``layer``, ``step``, ``timestep``: ``lowest`` and ``highest`` sum, 0 included, where an
        accumulator starts, and ``observed_bits`` that hold both.
    arrays
        ``LAYER/OPERAND/STEP``, stored codes in the operand's logical shape, and ``.../operand``, what the
        multiplier gets.

    Raises
    ------
    InputError
        For a pattern that matches no layer.
    """
    import pandas as pd

    from hqsim.simulate.executors import CodeExecutor
    from hqsim.simulate.lockstep import observed_bits
    from hqsim.simulate.verify import matrix_layers

    order = {node.name: index for index, node in enumerate(matrix_layers(qmodel))}
    kept = matching_layers(layers, list(order))
    kept_steps = {0, settings.steps // 2, settings.steps - 1}
    runner = CodeExecutor(qmodel, form="integer")
    codes: list[dict[str, Any]] = []
    sums: list[dict[str, Any]] = []
    arrays: dict[str, np.ndarray] = {}
    cells: dict[tuple[str, int], _Cell] = {}
    for moment, visit in follow(qmodel, runner, settings, "operand codes", progress):
        layer = visit.node.name
        if layer not in order:
            continue
        for number, name in enumerate(visit.node.inputs):
            operand = at_multiplier(runner, visit, number, moment.entry)
            cell = cells.setdefault(
                (layer, number), _Cell(multiplier_bits(visit.node, [qmodel.formats[name]]))
            )
            cell.add(operand, along_reduction(visit.node, operand, number))
            if layer in kept and moment.step in kept_steps and moment.part == 0:
                arrays[f"{layer}/{number}/{moment.step}"] = np.ascontiguousarray(visit.inputs[number])
                arrays[f"{layer}/{number}/{moment.step}/operand"] = np.ascontiguousarray(operand)
            if moment.ends_step:
                row = cells.pop((layer, number)).row(runner.saturated.pop(name, 0))
                codes.append({"layer": layer, "operand": number, **moment.columns, **row})
        if moment.ends_step:
            low, high = runner.accumulators.pop(layer)
            row = {"lowest": low, "highest": high, "observed_bits": observed_bits((low, high))}
            sums.append({"layer": layer, **moment.columns, **row})
    codes.sort(key=lambda row: (order[row["layer"]], row["operand"]))
    sums.sort(key=lambda row: order[row["layer"]])
    return pd.DataFrame(codes), pd.DataFrame(sums), arrays


def matching_layers(patterns: Sequence[str], names: Sequence[str]) -> set[str]:
    """Return the ``names`` that any of the wildcards matches.

    Raises
    ------
    InputError
        For a pattern that matches none.
    """
    found: set[str] = set()
    for pattern in patterns:
        matched = fnmatch.filter(names, pattern)
        if not matched:
            raise InputError(
                f"layers: '{pattern}' matches no layer; layers are named like '{names[0]}', wildcards are "
                "* ? []"
            )
        found |= set(matched)
    return found


def at_multiplier(runner: CodeExecutor, visit: Visit[np.ndarray], number: int, entry: int) -> np.ndarray:
    """Return what the multiplier gets of one input of a product: through the inverse, halved under parity.

    Codes that meet no inverse go in as they are: their zero-point's share of the sums is a constant.
    """
    node, codes = visit.node, visit.inputs[number]
    if inverse_of(node) is None:
        return codes
    arrays = runner.arrays(node, entry)
    low, high = arrays["operand_range"][number].tolist()
    operand = operand_integer(node, codes, int(arrays["zero_points"][number]), (low, high))
    return operand.parity()[0].codes if has_parity(node) else operand.codes


def along_reduction(node: Node, operand: np.ndarray, number: int) -> np.ndarray:
    """Return an operand with its reduction last: the channels, or the common axis of attention."""
    if node.op == "conv2d":
        return channels_last(operand)
    if node.op == "matmul" and number == 1 and not node.attributes["transpose_b"]:
        return operand.swapaxes(-1, -2)
    return operand


@dataclass
class _Cell:
    """One operand at one step: ``bits`` wide at the multiplier."""

    bits: int
    codes: int = 0
    zeros: int = 0
    lowest: int = 0
    highest: int = 0
    neighbours: int = 0
    toggles: np.ndarray = field(default_factory=lambda: np.zeros(len(TOGGLES), np.int64))

    def add(self, operand: np.ndarray, rows: np.ndarray) -> None:
        """Add an ``operand``, the reduction of its ``rows`` last."""
        low, high = int(operand.min()), int(operand.max())
        self.lowest = min(self.lowest, low) if self.codes else low
        self.highest = max(self.highest, high) if self.codes else high
        self.codes += operand.size
        self.zeros += operand.size - int(np.count_nonzero(operand))
        changed = rows[..., 1:] ^ rows[..., :-1]
        bits = min(self.bits, len(TOGGLES))
        patterns = np.bincount(changed.astype(np.int64).reshape(-1) & ((1 << bits) - 1), minlength=1 << bits)
        self.toggles[:bits] += patterns @ _bits_of_patterns(bits)
        self.neighbours += changed.size

    def row(self, saturated: int) -> dict[str, Any]:
        """Return the columns from ``zero_percent`` on."""
        known = min(self.bits, len(TOGGLES)) if self.neighbours else 0
        shares = (100.0 * self.toggles / max(self.neighbours, 1)).tolist()
        return {
            "zero_percent": 100.0 * self.zeros / self.codes,
            "saturated_percent": 100.0 * saturated / self.codes,
            "lowest": self.lowest,
            "highest": self.highest,
            **{
                name: share if bit < known else np.nan
                for bit, (name, share) in enumerate(zip(TOGGLES, shares, strict=True))
            },
        }


@cache
def _bits_of_patterns(bits: int) -> np.ndarray:
    """The bits of all patterns, int64 ``[2**bits, bits]``."""
    return (np.arange(1 << bits)[:, None] >> np.arange(bits)) & 1
