"""Which operands of a layer share which memories: from record and machine to the search for tiles, and back.

Neighbouring memories that hold different operands share one tile; a memory that holds an operand of an
inner one starts a stage of its own. What residency keeps whole in the outermost memory for activations
takes no part in the search there: both activations and, where that memory holds them, the outputs' sums;
also weights that fit its half (larger ones stream through that half, see `hqsim.cost.residency`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from hqsim.cost.machine import Hardware, MemoryLevel
from hqsim.cost.mapping import LevelTile
from hqsim.cost.residency import LayerResidency, constant_bytes
from hqsim.cost.tile_grid import OPERANDS, Link, NoTileError, Room, Stage, TileProblem
from hqsim.cost.tile_merits import Search, StageTile
from hqsim.cost.tiling import stage_limit
from hqsim.errors import InputError, UnsupportedError
from hqsim.graph.record import LayerRecord, MatrixWork


@dataclass(frozen=True, kw_only=True)
class Tiling:
    """The tile in every on-chip memory, from the array outward.

    ``crossings`` are the bytes that cross every link, sums in both directions.
    """

    tiles: tuple[LevelTile, ...]
    crossings: tuple[tuple[Link, float], ...]


def links_of(kind: str, hardware: Hardware) -> Iterator[tuple[int, int]]:
    """Yield each memory that holds ``kind`` with the next one outward that does."""
    return pairwise(hardware.chains[kind])


def second_kind(record: LayerRecord) -> str:
    """Return the kind of a product's second operand: weights, or activations times activations."""
    return "weights" if record.weights else "activations"


def operand_kinds(record: LayerRecord) -> dict[str, str]:
    """Return what memories call both operands of a product and its sums."""
    return {"a": "activations", "w": second_kind(record), "s": "sums"}


def has_inverse_transform(record: LayerRecord) -> bool:
    """Tell whether the first operand is transformed on its way to the multipliers."""
    return record.matrix is not None and "inverse" in [work.direction for work in record.hadamard]


def transformed_bits(record: LayerRecord, work: MatrixWork) -> float:
    """Return what a value takes behind its inverse transform: its width, and a share of a parity bit."""
    shared = 1 / (1 << record.hadamard[0].order) if record.parity else 0.0
    return work.a_multiplier_bits + shared


def tile_capacity_bytes(level: MemoryLevel) -> float:
    """Return what one tile may take: half of a double-buffered memory."""
    size = level.size_bytes or 0
    return size / 2 if level.double_buffered else float(size)


@dataclass(frozen=True, kw_only=True)
class TiledLayer:
    """The search for a layer's tiles, and what its result means.

    ``groups`` are the memories of every stage, ``links`` those of every stage in a row, ``whole`` the
    crossings of operands that no tile cuts.
    """

    record: LayerRecord
    hardware: Hardware
    search: Search
    groups: tuple[Mapping[int, str], ...]
    links: tuple[tuple[Link, ...], ...]
    whole: tuple[tuple[Link, float], ...]

    def tiling(self, found: Sequence[StageTile] | NoTileError) -> Tiling:
        """Return the tiles that the search found.

        Raises
        ------
        UnsupportedError
            When no tile of a memory can hold the layer, with the place of its size in the machine's file.
        """
        on_chip = self.hardware.on_chip
        if isinstance(found, NoTileError):
            place = next(level.place for level in on_chip if level.name == found.level)
            raise UnsupportedError(f"{place}layer '{self.record.name}' {found}") from found
        tiles = [
            LevelTile(level=on_chip[index].name, order=tile.order, m=tile.m, n=tile.n, k=tile.k)
            for group, tile in zip(self.groups, found, strict=True)
            for index in group
        ]
        crossings = [
            (link, tile.crossing_bytes[OPERANDS.index(link.operand)])
            for links, tile in zip(self.links, found, strict=True)
            for link in links
        ]
        return Tiling(tiles=tuple(tiles), crossings=(*self.whole, *crossings))


def tiled_layer(
    record: LayerRecord,
    work: MatrixWork,
    hardware: Hardware,
    *,
    sum_bits: int,
    links: Sequence[Link],
    residency: LayerResidency,
    weights_from_dram: bool,
    engine_cycles: int,
    level_bytes: Sequence[float],
    fixed: Sequence[LevelTile],
) -> TiledLayer:
    """Return the search for the tiles of a product whose accumulators have ``sum_bits``.

    ``level_bytes`` is what every memory moves besides ``links``.

    Raises
    ------
    InputError
        When ``fixed`` names a memory that the machine does not have, or cannot be.
    """
    groups = _groups(record, hardware)
    if fixed:
        _check_names(record, hardware, groups, fixed)
    resident = _resident(record, hardware, residency, weights_from_dram=weights_from_dram)
    bits = _element_bits(record, work, work.a_storage_bits, sum_bits)
    at_home = bits
    if has_inverse_transform(record):
        at_home = _element_bits(record, work, transformed_bits(record, work), sum_bits)
    stages = tuple([_stage(hardware, group, links, resident, bits, at_home) for group in groups])
    cut = {link for stage in stages for link in stage.links}
    whole = tuple([(link, link.size_bytes) for link in links if link not in cut and link.operand != "s"])
    moved = list(level_bytes)
    for link, crossing in whole:
        moved[link.source] += crossing
        moved[link.target] += crossing
    problem = TileProblem(m=work.m, n=work.n, k=work.k, conv=work.conv)
    try:
        limits = tuple([stage_limit(problem, stage, fixed) for stage in stages])
    except InputError as error:
        raise InputError(f"layer '{record.name}': {error}") from error
    return TiledLayer(
        record=record,
        hardware=hardware,
        search=Search(problem, stages, limits, engine_cycles, moved),
        groups=tuple(groups),
        links=tuple([stage.links for stage in stages]),
        whole=whole,
    )


def _groups(record: LayerRecord, hardware: Hardware) -> list[dict[int, str]]:
    """Return the operands that each memory holds, by number, memories with one tile together."""
    kinds = operand_kinds(record)
    groups: list[dict[int, str]] = []
    for index, level in enumerate(hardware.on_chip):
        held = "".join(operand for operand, kind in kinds.items() if kind in level.holds)
        if not held:
            continue
        if not groups or set(held) & set("".join(groups[-1].values())):
            groups.append({})
        groups[-1][index] = held
    return groups


def _check_names(
    record: LayerRecord, hardware: Hardware, groups: list[dict[int, str]], fixed: Sequence[LevelTile]
) -> None:
    names = [hardware.on_chip[index].name for group in groups for index in group]
    for tile in fixed:
        if tile.level not in names:
            raise InputError(
                f"layer '{record.name}': the mapping gives a tile of memory '{tile.level}', which "
                f"'{hardware.name}' does not have for it; allowed: {', '.join(names) or 'none'}."
            )


def _resident(
    record: LayerRecord, hardware: Hardware, residency: LayerResidency, *, weights_from_dram: bool
) -> dict[int, str]:
    """Return by memory the operands that it keeps whole while the layer runs."""
    resident: dict[int, str] = {}
    weights = hardware.chains["weights"]
    if record.weights and not weights_from_dram and len(weights) > 1:
        resident[weights[-2]] = "w"
    activations = hardware.chains["activations"]
    if residency.streams or len(activations) < 2:
        return resident
    home = activations[-2]
    level = hardware.on_chip[home]
    whole = "a" + ("s" if "sums" in level.holds else "")
    if second_kind(record) == "activations" or not _weights_stream(record, level):
        whole += "w"
    resident[home] = resident.get(home, "") + whole
    return resident


def _weights_stream(record: LayerRecord, home: MemoryLevel) -> bool:
    """Tell whether the layer's constants are larger than their half of the activations' memory."""
    return constant_bytes(record, home) > (home.size_bytes or 0) / 2


def _stage(
    hardware: Hardware,
    group: Mapping[int, str],
    links: Sequence[Link],
    resident: Mapping[int, str],
    bits: Mapping[str, float],
    at_home: Mapping[str, float],
) -> Stage:
    """Return a stage; an element takes ``bits`` by operand, ``at_home`` in the home of activations."""
    home = hardware.chains["activations"][0]
    rooms: list[Room] = []
    cut: list[Link] = []
    for index, held in group.items():
        level = hardware.on_chip[index]
        whole = resident.get(index, "")
        here = at_home if index == home else bits
        limited = [operand for operand in held if operand not in whole]
        # Beside activations that stay, what streams has half of the memory.
        share = 0.5 if "a" in whole else 1.0
        a, w, s = [here[operand] if operand in limited else 0.0 for operand in OPERANDS]
        rooms.append(Room(level.name, 8 * share * tile_capacity_bytes(level), (a, w, s)))
        cut += [link for link in links if link.target == index and link.operand in limited]
    return Stage(tuple(rooms), tuple(cut))


def _element_bits(record: LayerRecord, work: MatrixWork, a_bits: float, sum_bits: int) -> dict[str, float]:
    """Return what an element of the product takes by operand: less than its width where several share one."""
    first = sum([use.elements for use in (record.inputs if record.weights else record.inputs[:1])])
    second = (record.weights or record.inputs[1]).elements
    a_share = 1.0 if work.conv else min(1.0, first / (work.m * work.k * work.count))
    w_share = min(1.0, second / (work.n * work.k * work.count))
    # Block sums lie in the tile of the weights that they are sums of.
    beside = record.weight_bytes / record.weights.size_bytes if record.weights else 1.0
    return {
        "a": a_bits * a_share,
        "w": work.w_storage_bits * (w_share * beside),
        "s": float(sum_bits),
    }
