"""Bytes that a layer reads and writes in every memory.

Every kind of operand (activations, weights, partial sums, tables) lives in the memories that hold it; the
innermost of them, its home, feeds the matrix and the vector unit. What crosses from one to the next is
read on one side and written on the other, and passes by the memories in between. Activations and weights
have their storage width everywhere, except that the home of activations holds the first operand at
multiplier width once its inverse transform has run (the array reads it many times, the transform runs once).
Partial sums that leave a memory before they are complete have the accumulator's width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hqsim.cost.machine import Hardware
from hqsim.cost.mapping import LevelTile
from hqsim.cost.matrix import MatrixRun
from hqsim.cost.residency import LayerResidency
from hqsim.cost.stages import (
    chain_of,
    has_inverse_transform,
    links_of,
    second_kind,
    tile_capacity_bytes,
    tile_layer,
)
from hqsim.graph.record import LayerRecord, MatrixWork

KINDS = ("activations", "weights", "sums", "tables")
#: Element-wise work that reads its input twice: statistics (or the maximum and sum), then the values.
TWO_PASS_KINDS = frozenset({"norm", "softmax"})


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """Bytes read and written per memory, from the array outward, DRAM last; and both together by kind.

    ``tiles`` are those of the on-chip memories, for a layer with a matrix product.
    """

    read_bytes: tuple[float, ...]
    write_bytes: tuple[float, ...]
    kind_bytes: Mapping[str, tuple[float, ...]]
    tiles: tuple[LevelTile, ...] = ()

    def level_bytes(self, level: int) -> float:
        """Bytes read and written at one memory."""
        return self.read_bytes[level] + self.write_bytes[level]


class _Ledger:
    """Adds up the traffic of one layer."""

    def __init__(self, hardware: Hardware) -> None:
        self._hardware = hardware
        count = len(hardware.levels)
        self._read, self._write = [0.0] * count, [0.0] * count
        self._by_kind = {kind: [0.0] * count for kind in KINDS}

    def read(self, kind: str, level: int, size_bytes: float) -> None:
        self._read[level] += size_bytes
        self._by_kind[kind][level] += size_bytes

    def write(self, kind: str, level: int, size_bytes: float) -> None:
        self._write[level] += size_bytes
        self._by_kind[kind][level] += size_bytes

    def move(self, kind: str, size_bytes: float, *, source: int, target: int) -> None:
        self.read(kind, source, size_bytes)
        self.write(kind, target, size_bytes)

    def fetch(self, kind: str, size_bytes: float, *, dram_bytes: float | None = None) -> None:
        """Bring ``size_bytes`` once from memory to memory to its home, ``dram_bytes`` out of DRAM."""
        dram = len(self._hardware.on_chip)
        for inner, outer in links_of(kind, self._hardware):
            crossing = dram_bytes if outer == dram and dram_bytes is not None else size_bytes
            self.move(kind, crossing, source=outer, target=inner)

    def traffic(self, tiles: tuple[LevelTile, ...] = ()) -> Traffic:
        return Traffic(
            read_bytes=tuple(self._read),
            write_bytes=tuple(self._write),
            kind_bytes={kind: tuple(sizes) for kind, sizes in self._by_kind.items()},
            tiles=tiles,
        )


def layer_traffic(
    record: LayerRecord,
    hardware: Hardware,
    *,
    run: MatrixRun | None,
    residency: LayerResidency,
    tiles: Sequence[LevelTile] = (),
    weights_from_dram: bool = True,
) -> Traffic:
    """Return the traffic of one layer.

    ``run`` is None for a layer without a matrix product. ``tiles`` may fix orders and limit sizes of the
    tiles, ``weights_from_dram`` is False in a step that finds its weights on chip. Raises
    UnsupportedError for a layer that no tile of a memory can hold.
    """
    ledger = _Ledger(hardware)
    ledger.fetch("tables", record.table_bytes)
    ledger.read("tables", chain_of("tables", hardware)[0], record.table_bytes)
    _output(ledger, record, hardware, residency)
    if run is None or record.matrix is None:
        _element_wise(ledger, record, hardware, residency, weights_from_dram=weights_from_dram)
        return ledger.traffic()
    _array(ledger, record, record.matrix, hardware, run)
    tiling = tile_layer(
        record,
        record.matrix,
        hardware,
        sum_bits=run.unit.accumulator_bits,
        residency=residency,
        weights_from_dram=weights_from_dram,
        fixed=tiles,
    )
    _operands(ledger, record, hardware, residency, tiling.times, weights_from_dram=weights_from_dram)
    _partial_sums(ledger, record.matrix, hardware, run.unit.accumulator_bits, tiling.times)
    return ledger.traffic(tiling.tiles)


def first_tile_bytes(record: LayerRecord, run: MatrixRun | None) -> float:
    """Return the operands that must arrive before the first fold can start (0 without a product)."""
    if run is None or record.matrix is None:
        return 0.0
    a_bits, w_bits = record.matrix.a_storage_bits, record.matrix.w_storage_bits
    return (run.run.first_a_words * a_bits + run.run.first_w_words * w_bits) / 8


def _output(ledger: _Ledger, record: LayerRecord, hardware: Hardware, residency: LayerResidency) -> None:
    size_bytes, dram = record.output.size_bytes, len(hardware.on_chip)
    ledger.write("activations", chain_of("activations", hardware)[0], size_bytes)
    for inner, outer in links_of("activations", hardware):
        if outer < dram or residency.output_to_dram:
            ledger.move("activations", size_bytes, source=inner, target=outer)


def _element_wise(
    ledger: _Ledger,
    record: LayerRecord,
    hardware: Hardware,
    residency: LayerResidency,
    *,
    weights_from_dram: bool,
) -> None:
    """Inputs, once more for a second pass that no memory can serve; weights once."""
    passes = 2 if TWO_PASS_KINDS & record.vector.keys() else 1
    inputs, from_dram = _input_bytes(record, residency)
    dram = len(hardware.on_chip)
    for inner, outer in links_of("activations", hardware):
        fits = inputs <= tile_capacity_bytes(hardware.on_chip[inner])
        again = not fits and (outer < dram or residency.streams)
        crossing = from_dram if outer == dram else inputs
        ledger.move("activations", crossing * (passes if again else 1), source=outer, target=inner)
    ledger.read("activations", chain_of("activations", hardware)[0], inputs * passes)
    if record.weights:
        size_bytes = record.weights.size_bytes
        ledger.fetch("weights", size_bytes, dram_bytes=None if weights_from_dram else 0.0)
        ledger.read("weights", chain_of("weights", hardware)[0], size_bytes)


def _input_bytes(record: LayerRecord, residency: LayerResidency) -> tuple[float, float]:
    """Return the size of all inputs, and of those that come from DRAM."""
    sizes = [use.size_bytes for use in record.inputs]
    from_dram = [size for size, crosses in zip(sizes, residency.input_from_dram, strict=True) if crosses]
    return sum(sizes), sum(from_dram)


def _array(
    ledger: _Ledger, record: LayerRecord, work: MatrixWork, hardware: Hardware, run: MatrixRun
) -> None:
    """What the matrix unit reads and writes, and the transform before it."""
    unit, mode = run.run, run.mode
    home = chain_of("activations", hardware)[0]
    a_bits = work.a_storage_bits
    if has_inverse_transform(record):
        a_bits = work.a_multiplier_bits
        first = record.inputs if record.weights else record.inputs[:1]
        ledger.read("activations", home, sum(use.size_bytes for use in first))
        ledger.write("activations", home, sum(use.elements for use in first) * a_bits / 8)
    ledger.read("activations", home, unit.a_reads * a_bits * mode.w_passes / 8)
    kind = second_kind(record)
    second = unit.w_reads * work.w_storage_bits * mode.a_passes / 8
    ledger.read(kind, chain_of(kind, hardware)[0], second)
    sums, word = chain_of("sums", hardware)[0], run.unit.accumulator_bits * mode.passes / 8
    ledger.write("sums", sums, unit.sum_writes * word)
    ledger.read("sums", sums, unit.sum_reads * word)


def _operands(
    ledger: _Ledger,
    record: LayerRecord,
    hardware: Hardware,
    residency: LayerResidency,
    times: Mapping[tuple[str, int], float],
    *,
    weights_from_dram: bool,
) -> None:
    """Both operands on their way to their homes, as often as the tiles make them cross."""
    dram = len(hardware.on_chip)
    total, from_dram = _input_bytes(record, residency)
    if record.weights:
        weights = record.weights.size_bytes
        first, second = (total, from_dram), (weights, weights if weights_from_dram else 0.0)
    else:
        sizes = [use.size_bytes for use in record.inputs]
        # A tensor times itself streams twice, each side in its own order.
        crosses = (residency.input_from_dram[0], residency.input_from_dram[1] or residency.streams)
        first, second = ((size, size if comes else 0.0) for size, comes in zip(sizes, crosses, strict=False))
    for operand, kind, (size, size_from_dram) in (
        ("a", "activations", first),
        ("w", second_kind(record), second),
    ):
        for inner, outer in links_of(kind, hardware):
            crossing = size_from_dram if outer == dram else size
            ledger.move(kind, crossing * times.get((operand, inner), 1.0), source=outer, target=inner)


def _partial_sums(
    ledger: _Ledger,
    work: MatrixWork,
    hardware: Hardware,
    sum_bits: int,
    times: Mapping[tuple[str, int], float],
) -> None:
    """Partial sums that leave a memory and come back; complete ones leave as the output."""
    size_bytes = work.m * work.n * work.count * sum_bits / 8
    for inner, outer in links_of("sums", hardware):
        leaving = size_bytes * (times.get(("s", inner), 1.0) - 1.0)
        ledger.move("sums", leaving, source=inner, target=outer)
        ledger.move("sums", leaving, source=outer, target=inner)
