"""Bytes that a layer reads and writes in every memory.

Level 0 feeds the array and the vector unit; what crosses a boundary is read on one side and written on
the other. Activations and weights have their storage width everywhere, except that level 0 holds the
first operand at multiplier width once its inverse transform has run (the array reads it many times, the
transform runs once).
"""

from __future__ import annotations

from dataclasses import dataclass

from hqsim.cost.machine import Hardware
from hqsim.cost.residency import LayerResidency
from hqsim.cost.systolic import ArrayRun
from hqsim.cost.tiling import Reloads, TileProblem, reloads, tile_capacity_bytes
from hqsim.cost.widths import MultiplierMode
from hqsim.graph.record import LayerRecord, MatrixWork, TensorUse

#: Element-wise work that reads its input twice: statistics (or the maximum and sum), then the values.
TWO_PASS_KINDS = frozenset({"norm", "softmax"})


@dataclass(frozen=True, kw_only=True)
class MatrixRun:
    """A matrix product on the machine: its array run and its multiplier."""

    array: ArrayRun
    mode: MultiplierMode


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """Bytes read and written per memory, from the array outward, DRAM last."""

    read_bytes: tuple[float, ...]
    write_bytes: tuple[float, ...]

    def level_bytes(self, level: int) -> float:
        """Bytes read and written at one memory."""
        return self.read_bytes[level] + self.write_bytes[level]


def has_inverse_transform(record: LayerRecord) -> bool:
    """Tell whether the first operand is transformed on its way to the multipliers."""
    return record.matrix is not None and any(work.direction == "inverse" for work in record.hadamard)


def layer_traffic(
    record: LayerRecord,
    hardware: Hardware,
    *,
    run: MatrixRun | None,
    residency: LayerResidency,
    weights_from_dram: bool = True,
) -> Traffic:
    """Return the traffic of one layer.

    ``run`` is None for a layer without a matrix product. ``weights_from_dram`` is False in a step that
    finds its weights on chip. Raises UnsupportedError for a layer that no tile of a memory can hold.
    """
    levels = len(hardware.levels)
    read, write = [0.0] * levels, [0.0] * levels
    read[0], write[0] = _level_zero(record, hardware, run)
    always = LayerResidency(
        input_from_dram=(True,) * len(record.inputs), output_to_dram=True, streams=True, live_bytes=0.0
    )
    for inner in range(levels - 1):
        to_dram = inner == levels - 2
        crossing = residency if to_dram else always
        down, up = _crossing(
            record, hardware, inner, crossing=crossing, weights=weights_from_dram or not to_dram
        )
        read[inner + 1] += down
        write[inner] += down
        read[inner] += up
        write[inner + 1] += up
    return Traffic(read_bytes=tuple(read), write_bytes=tuple(write))


def first_tile_bytes(record: LayerRecord, hardware: Hardware, run: MatrixRun | None) -> float:
    """Return the operands that must arrive before the first fold can start (0 without a product)."""
    if run is None or record.matrix is None:
        return 0.0
    rows, cols = hardware.matrix.rows, hardware.matrix.cols
    a_bits, w_bits = record.matrix.a_storage_bits, record.matrix.w_storage_bits
    bits = {"os": rows * a_bits + cols * w_bits, "ws": rows * cols * w_bits, "is": rows * cols * a_bits}
    return bits[run.array.dataflow] / 8


def _operands(record: LayerRecord) -> tuple[TensorUse, TensorUse, tuple[int, ...]]:
    """Return both operands of the product and the positions of the other inputs."""
    second = record.weights or record.inputs[1]
    used = 1 if record.weights else 2
    return record.inputs[0], second, tuple(range(used, len(record.inputs)))


def _input_passes(record: LayerRecord) -> int:
    return 2 if TWO_PASS_KINDS & record.vector.keys() else 1


def _level_zero(record: LayerRecord, hardware: Hardware, run: MatrixRun | None) -> tuple[float, float]:
    output_bytes = record.output.size_bytes
    if run is None or record.matrix is None:
        inputs = sum(use.size_bytes for use in record.inputs)
        constants = record.table_bytes + (record.weights.size_bytes if record.weights else 0.0)
        return inputs * _input_passes(record) + constants, output_bytes
    work, array, mode = record.matrix, run.array, run.mode
    first, _, others = _operands(record)
    a_bits, staged_read, staged_write = work.a_storage_bits, 0.0, 0.0
    if has_inverse_transform(record):
        a_bits = work.a_multiplier_bits
        staged_read, staged_write = first.size_bytes, first.elements * a_bits / 8
    operands = array.a_reads * a_bits * mode.w_passes + array.w_reads * work.w_storage_bits * mode.a_passes
    # Every partial sum that is written is read again: to go on accumulating, or to be requantized.
    sums = array.partial_sum_writes * mode.passes * hardware.matrix.accumulator_bits / 8
    rest = record.table_bytes + sum(record.inputs[index].size_bytes for index in others)
    return operands / 8 + sums + rest + staged_read, sums + output_bytes + staged_write


def _crossing(
    record: LayerRecord, hardware: Hardware, inner: int, *, crossing: LayerResidency, weights: bool
) -> tuple[float, float]:
    """Return the bytes that cross from level ``inner + 1`` to ``inner``, and those that cross back."""
    up = record.output.size_bytes if crossing.output_to_dram else 0.0
    sizes = [
        use.size_bytes if crosses else 0.0
        for use, crosses in zip(record.inputs, crossing.input_from_dram, strict=True)
    ]
    level = hardware.on_chip[inner]
    weight_bytes = record.weights.size_bytes if record.weights and weights else 0.0
    if record.matrix is None:
        again = crossing.streams and sum(use.size_bytes for use in record.inputs) > tile_capacity_bytes(level)
        times = _input_passes(record) if again else 1
        return sum(sizes) * times + weight_bytes + record.table_bytes, up
    reload = Reloads(a_times=1, w_times=1)
    if crossing.streams:
        transformed = inner == 0 and has_inverse_transform(record)
        problem = _tile_problem(record, record.matrix, hardware, transformed=transformed)
        reload = reloads(
            problem, capacity_bytes=tile_capacity_bytes(level), layer=record.name, level=level.name
        )
    _, _, others = _operands(record)
    if crossing.streams and not record.weights:
        # A tensor times itself streams twice, each side in its own order.
        sizes[1] = record.inputs[1].size_bytes
    second = weight_bytes if record.weights else sizes[1]
    down = sizes[0] * reload.a_times + second * reload.w_times + sum(sizes[index] for index in others)
    return down + record.table_bytes, up


def _tile_problem(
    record: LayerRecord, work: MatrixWork, hardware: Hardware, *, transformed: bool
) -> TileProblem:
    first, second, _ = _operands(record)
    a_bits = work.a_multiplier_bits if transformed else work.a_storage_bits
    return TileProblem(
        m=work.m,
        n=work.n,
        a_bytes=first.size_bytes / work.count,
        w_bytes=second.size_bytes / work.count,
        a_held_bytes=first.elements * a_bits / 8 / work.count,
        a_row_bytes=work.k * a_bits / 8,
        w_col_bytes=work.k * work.w_storage_bits / 8,
        a_element_bytes=a_bits / 8,
        w_element_bytes=work.w_storage_bits / 8,
        sum_bytes=hardware.matrix.accumulator_bits / 8,
    )
