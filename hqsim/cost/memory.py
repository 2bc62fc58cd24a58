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
from functools import cached_property

from hqsim.cost.machine import Hardware
from hqsim.cost.mapping import LevelTile
from hqsim.cost.matrix import MatrixRun
from hqsim.cost.residency import LayerResidency
from hqsim.cost.stages import (
    TiledLayer,
    has_inverse_transform,
    links_of,
    operand_kinds,
    second_kind,
    tile_capacity_bytes,
    tiled_layer,
    transformed_bits,
)
from hqsim.cost.tile_grid import Link, NoTileError
from hqsim.cost.tile_merits import StageTile
from hqsim.graph.record import LayerRecord, MatrixWork

KINDS = ("activations", "weights", "sums", "tables")
#: Element-wise work that reads its input twice: statistics (or the maximum and sum), then the values.
TWO_PASS_KINDS = frozenset({"norm", "softmax"})


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """Bytes read and written per memory, from the array outward, DRAM last; and both together by kind.

    ``first_bytes`` are those that every memory gives before the first fold can start. ``tiles`` are those
    of the on-chip memories, for a layer with a matrix product.
    """

    read_bytes: tuple[float, ...]
    write_bytes: tuple[float, ...]
    kind_bytes: Mapping[str, tuple[float, ...]]
    first_bytes: tuple[float, ...]
    tiles: tuple[LevelTile, ...] = ()

    @cached_property
    def level_bytes(self) -> tuple[float, ...]:
        """Bytes read and written at every memory."""
        return tuple(
            [read + written for read, written in zip(self.read_bytes, self.write_bytes, strict=True)]
        )


class _Ledger:
    """Adds up the traffic of one layer."""

    def __init__(self, hardware: Hardware) -> None:
        self._hardware = hardware
        count = len(hardware.levels)
        self._read, self._write = [0.0] * count, [0.0] * count
        self._first = [0.0] * count
        self._by_kind = {kind: [0.0] * count for kind in KINDS}

    @property
    def level_bytes(self) -> list[float]:
        return [read + written for read, written in zip(self._read, self._write, strict=True)]

    def read(self, kind: str, level: int, size_bytes: float) -> None:
        self._read[level] += size_bytes
        self._by_kind[kind][level] += size_bytes

    def write(self, kind: str, level: int, size_bytes: float) -> None:
        self._write[level] += size_bytes
        self._by_kind[kind][level] += size_bytes

    def move(self, kind: str, size_bytes: float, *, source: int, target: int) -> None:
        self.read(kind, source, size_bytes)
        self.write(kind, target, size_bytes)

    def wait(self, level: int, size_bytes: float) -> None:
        self._first[level] += size_bytes

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
            first_bytes=tuple(self._first),
            tiles=tiles,
        )


@dataclass(frozen=True)
class Demand:
    """The traffic of a layer as far as no tile changes it, and the search for the tiles of its product.

    ``run`` and ``tiled`` are None for a layer without one.
    """

    record: LayerRecord
    ledger: _Ledger
    run: MatrixRun | None = None
    tiled: TiledLayer | None = None
    links: Sequence[Link] = ()

    def traffic(self, found: Sequence[StageTile] | NoTileError | None) -> Traffic:
        """Return the traffic with the tiles that were ``found``.

        Raises UnsupportedError for a layer that no tile of a memory can hold. May be called once.
        """
        ledger, record, run = self.ledger, self.record, self.run
        if run is None or record.matrix is None or self.tiled is None or found is None:
            return ledger.traffic()
        tiling = self.tiled.tiling(found)
        kinds = operand_kinds(record)
        for link, crossing in tiling.crossings:
            if link.operand == "s":
                ledger.move("sums", crossing / 2, source=link.source, target=link.target)
                ledger.move("sums", crossing / 2, source=link.target, target=link.source)
            else:
                ledger.move(kinds[link.operand], crossing, source=link.source, target=link.target)
        _first_fold(ledger, record.matrix, run, self.links)
        return ledger.traffic(tiling.tiles)


def layer_demand(
    record: LayerRecord,
    hardware: Hardware,
    *,
    runs: Sequence[MatrixRun],
    residency: LayerResidency,
    engine_cycles: int,
    tiles: Sequence[LevelTile] = (),
    weights_from_dram: bool = True,
) -> Demand:
    """Return the traffic of one layer, whose tiles shall suit engines that take ``engine_cycles``.

    ``runs`` are those of the product and of its parity term, none for a layer without a product. ``tiles``
    may fix orders and limit sizes of the tiles, ``weights_from_dram`` is False in a step that finds its
    weights on chip.
    """
    ledger = _Ledger(hardware)
    ledger.fetch("tables", record.table_bytes)
    ledger.read("tables", hardware.chains["tables"][0], record.table_bytes)
    _output(ledger, record, hardware, residency)
    if not runs or record.matrix is None:
        _element_wise(ledger, record, hardware, residency, weights_from_dram=weights_from_dram)
        return Demand(record, ledger)
    run = runs[0]
    _array(ledger, record, record.matrix, hardware, run)
    if record.parity:
        _parity(ledger, record.parity.matrix, record.matrix, hardware, runs[1])
    links = _links(record, record.matrix, hardware, run, residency, weights_from_dram=weights_from_dram)
    tiled = tiled_layer(
        record,
        record.matrix,
        hardware,
        sum_bits=run.unit.accumulator_bits,
        links=links,
        residency=residency,
        weights_from_dram=weights_from_dram,
        engine_cycles=engine_cycles,
        level_bytes=ledger.level_bytes,
        fixed=tiles,
    )
    return Demand(record, ledger, run, tiled, links)


def _output(ledger: _Ledger, record: LayerRecord, hardware: Hardware, residency: LayerResidency) -> None:
    size_bytes, dram = record.output.size_bytes, len(hardware.on_chip)
    ledger.write("activations", hardware.chains["activations"][0], size_bytes)
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
    ledger.read("activations", hardware.chains["activations"][0], inputs * passes)
    if record.weights:
        size_bytes = record.weights.size_bytes
        ledger.fetch("weights", size_bytes, dram_bytes=None if weights_from_dram else 0.0)
        ledger.read("weights", hardware.chains["weights"][0], size_bytes)


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
    home = hardware.chains["activations"][0]
    a_bits = work.a_storage_bits
    if has_inverse_transform(record):
        a_bits = work.a_multiplier_bits
        first = record.inputs if record.weights else record.inputs[:1]
        ledger.read("activations", home, sum(use.size_bytes for use in first))
        elements = sum(use.elements for use in first)
        ledger.write("activations", home, elements * transformed_bits(record, work) / 8)
    ledger.read("activations", home, unit.a_reads * a_bits * mode.w_passes / 8)
    kind = second_kind(record)
    second = unit.w_reads * work.w_storage_bits * mode.a_passes / 8
    ledger.read(kind, hardware.chains[kind][0], second)
    sums, word = hardware.chains["sums"][0], run.unit.accumulator_bits * mode.passes / 8
    ledger.write("sums", sums, unit.sum_writes * word)
    ledger.read("sums", sums, unit.sum_reads * word)


def _parity(ledger: _Ledger, term: MatrixWork, work: MatrixWork, hardware: Hardware, run: MatrixRun) -> None:
    """What the matrix unit reads and writes for a parity term, from whose sums those of the product start."""
    unit, mode = run.run, run.mode
    bits = unit.a_reads * term.a_storage_bits * mode.w_passes / 8
    ledger.read("activations", hardware.chains["activations"][0], bits)
    weights = unit.w_reads * term.w_storage_bits * mode.a_passes / 8
    ledger.read("weights", hardware.chains["weights"][0], weights)
    sums, word = hardware.chains["sums"][0], run.unit.accumulator_bits * mode.passes / 8
    started = (work.m - term.m) * work.n * work.count
    ledger.write("sums", sums, unit.sum_writes * word)
    ledger.read("sums", sums, unit.sum_reads * word + started * run.unit.accumulator_bits / 8)


def _links(
    record: LayerRecord,
    work: MatrixWork,
    hardware: Hardware,
    run: MatrixRun,
    residency: LayerResidency,
    *,
    weights_from_dram: bool,
) -> list[Link]:
    """Return the ways of both operands to their homes and of the sums from theirs, memory by memory."""
    total, from_dram = _input_bytes(record, residency)
    if record.weights:
        weights = record.weight_bytes
        first, second = (total, from_dram), (weights, weights if weights_from_dram else 0.0)
    else:
        sizes = [use.size_bytes for use in record.inputs]
        # A tensor times itself streams twice, each side in its own order.
        crosses = (residency.input_from_dram[0], residency.input_from_dram[1] or residency.streams)
        first, second = ((size, size if comes else 0.0) for size, comes in zip(sizes, crosses, strict=False))
    sums = work.m * work.n * work.count * run.unit.accumulator_bits / 8
    dram, kinds = len(hardware.on_chip), operand_kinds(record)
    return [
        Link(operand=operand, target=inner, source=outer, size_bytes=from_dram if outer == dram else size)
        for operand, (size, from_dram) in (("a", first), ("w", second), ("s", (sums, sums)))
        for inner, outer in links_of(kinds[operand], hardware)
    ]


def _first_fold(ledger: _Ledger, work: MatrixWork, run: MatrixRun, links: Sequence[Link]) -> None:
    """What must have come over every link before the first fold can start."""
    first = {
        "a": run.run.first_a_words * work.a_storage_bits / 8,
        "w": run.run.first_w_words * work.w_storage_bits / 8,
        "s": 0.0,
    }
    for link in links:
        ledger.wait(link.source, min(first[link.operand], link.size_bytes))
