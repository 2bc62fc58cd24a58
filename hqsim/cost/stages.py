"""Which operands of a layer share which memories: from a record and a machine to the search for tiles.

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
from hqsim.cost.pace import Pace
from hqsim.cost.residency import LayerResidency, constant_bytes
from hqsim.cost.tile_grid import Link, NoTileError, Room, Stage, TileProblem
from hqsim.cost.tiling import search_tiles
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
    return record.matrix is not None and any(work.direction == "inverse" for work in record.hadamard)


def transformed_bits(record: LayerRecord, work: MatrixWork) -> float:
    """Return what a value takes behind its inverse transform: its width, and a share of a parity bit."""
    shared = 1 / (1 << record.hadamard[0].order) if record.parity else 0.0
    return work.a_multiplier_bits + shared


def tile_capacity_bytes(level: MemoryLevel) -> float:
    """Return what one tile may take: half of a double-buffered memory."""
    size = level.size_bytes or 0
    return size / 2 if level.double_buffered else float(size)


def tile_layer(
    record: LayerRecord,
    work: MatrixWork,
    hardware: Hardware,
    *,
    sum_bits: int,
    links: Sequence[Link],
    residency: LayerResidency,
    weights_from_dram: bool,
    pace: Pace,
    level_bytes: Sequence[float],
    fixed: Sequence[LevelTile],
) -> Tiling:
    """Return the best tiles of a product whose accumulators have ``sum_bits``.

    ``level_bytes`` is what every memory moves besides ``links``. Operands that no tile cuts cross once.

    Raises
    ------
    UnsupportedError
        For a layer that no tile of a memory can hold, with the place of its size in the machine's file.
    InputError
        When ``fixed`` names a memory that the machine does not have, or cannot be.
    """
    groups = _groups(record, hardware)
    _check_names(record, hardware, groups, fixed)
    resident = _resident(record, hardware, residency, weights_from_dram=weights_from_dram)
    stages = tuple(
        [
            _stage(record, work, hardware, group, links=links, resident=resident, sum_bits=sum_bits)
            for group in groups
        ]
    )
    cut = [link for stage in stages for link in stage.links]
    whole = [(link, link.size_bytes) for link in links if link not in cut and link.operand != "s"]
    moved = list(level_bytes)
    for link, crossing in whole:
        moved[link.source] += crossing
        moved[link.target] += crossing
    problem = TileProblem(m=work.m, n=work.n, k=work.k, conv=work.conv)
    try:
        found = search_tiles(problem, stages, pace=pace, level_bytes=moved, fixed=fixed)
    except NoTileError as error:
        place = next(level.place for level in hardware.on_chip if level.name == error.level)
        raise UnsupportedError(f"{place}layer '{record.name}' {error}") from error
    except InputError as error:
        raise InputError(f"layer '{record.name}': {error}") from error
    return Tiling(
        tiles=tuple(
            [
                LevelTile(level=hardware.on_chip[index].name, order=tile.order, m=tile.m, n=tile.n, k=tile.k)
                for group, tile in zip(groups, found, strict=True)
                for index in group
            ]
        ),
        crossings=(
            *whole,
            *zip(cut, [crossing for tile in found for crossing in tile.link_bytes], strict=True),
        ),
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
    record: LayerRecord,
    work: MatrixWork,
    hardware: Hardware,
    group: dict[int, str],
    *,
    links: Sequence[Link],
    resident: Mapping[int, str],
    sum_bits: int,
) -> Stage:
    a_share, w_share = _shares(record, work)
    rooms: list[Room] = []
    cut: list[Link] = []
    for index, held in group.items():
        level = hardware.on_chip[index]
        limited = [operand for operand in held if operand not in resident.get(index, "")]
        # Beside activations that stay, what streams has half of the memory.
        share = 0.5 if "a" in resident.get(index, "") else 1.0
        staged = has_inverse_transform(record) and index == hardware.chains["activations"][0]
        a_bits = transformed_bits(record, work) if staged else work.a_storage_bits
        bits = {"a": a_bits * a_share, "w": work.w_storage_bits * w_share, "s": float(sum_bits)}
        rooms.append(
            Room(
                level=level.name,
                capacity_bits=8 * share * tile_capacity_bytes(level),
                element_bits=tuple((operand, bits[operand]) for operand in limited),
            )
        )
        cut += [link for link in links if link.target == index and link.operand in limited]
    return Stage(rooms=tuple(rooms), links=tuple(cut))


def _shares(record: LayerRecord, work: MatrixWork) -> tuple[float, float]:
    """Return the stored elements of both operands per element of the product, block sums as weights."""
    first = sum(use.elements for use in (record.inputs if record.weights else record.inputs[:1]))
    second = (record.weights or record.inputs[1]).elements
    a_share = 1.0 if work.conv else min(1.0, first / (work.m * work.k * work.count))
    w_share = min(1.0, second / (work.n * work.k * work.count))
    # Block sums lie in the tile of the weights that they are sums of.
    beside = record.weight_bytes / record.weights.size_bytes if record.weights else 1.0
    return a_share, w_share * beside
