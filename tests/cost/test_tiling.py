"""The search for tiles against a walk over every tile of every tiling, and by hand."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hqsim.cost.mapping import LevelTile
from hqsim.cost.pace import Pace
from hqsim.cost.tile_grid import OPERANDS, Link, NoTileError, Room, Stage, TileProblem
from hqsim.cost.tile_merits import Search
from hqsim.cost.tiling import search_tiles, stage_limit
from hqsim.errors import InputError
from hqsim.graph.record import ConvWork
from tests.cost import naive_tiling
from tests.cost.builders import memory, toy_hardware
from tests.cost.naive_tiling import Convolution, Plain

BITS = {"a": 4, "w": 3, "s": 16}


def problem(layer):
    """The layer for the search."""
    m, n, k = layer.sizes
    conv = None
    if isinstance(layer, Convolution):
        size, out = layer.in_size, layer.out_size
        conv = ConvWork(
            kernel_h=layer.kernel, kernel_w=layer.kernel, stride_h=layer.stride, stride_w=layer.stride,
            in_h=size, in_w=size, out_h=out, out_w=out,
            in_channels=layer.channels, out_channels=n, groups=1, batch=layer.batch,
        )  # fmt: skip
    return TileProblem(m=m, n=n, k=k, conv=conv)


def whole_bytes(layer):
    """The bytes of every operand, with ``BITS`` per element."""
    m, n, k = layer.sizes
    first = m * k
    if isinstance(layer, Convolution):
        first = layer.batch * layer.in_size**2 * layer.channels
    return {x: count * BITS[x] / 8 for x, count in (("a", first), ("w", n * k), ("s", m * n))}


def room(level, capacity, operands):
    bits = tuple(float(BITS[x]) if x in operands else 0.0 for x in OPERANDS)
    return Room(level=level, capacity_bits=capacity, element_bits=bits)


def stage(layer, *rooms, links=(("a", 0, 1), ("w", 0, 1), ("s", 0, 1))):
    """Rooms r0, r1, ... as (capacity in bits, operands); links as (operand, target, source)."""
    sizes = whole_bytes(layer)
    return Stage(
        rooms=tuple(room(f"r{i}", *given) for i, given in enumerate(rooms)),
        links=tuple(
            Link(operand=x, target=target, source=source, size_bytes=sizes[x]) for x, target, source in links
        ),
    )


def pace(*bytes_per_cycle, engine_cycles=0, exposed=()):
    """Memories of such speeds, from the array outward, those with numbers in ``exposed`` not hidden."""
    levels = [
        memory(f"l{i}", 1, speed, double_buffered=i not in exposed) for i, speed in enumerate(bytes_per_cycle)
    ]
    return Pace(toy_hardware(on_chip=tuple(levels[:-1]), dram=levels[-1]), engine_cycles)


def search(layer, stages, *, fixed=(), **options):
    """The tiles that take the least bytes, when nothing else counts, or what ``pace`` says."""
    speeds = options.pop("pace", None)
    if speeds is None:
        speeds = pace(
            *[1.0] * (1 + max(link.source for part in stages for link in part.links)), engine_cycles=10**9
        )
    level_bytes = options.pop("level_bytes", [0.0] * len(speeds.hardware.levels))
    limits = tuple(stage_limit(problem(layer), part, fixed) for part in stages)
    one = Search(problem(layer), stages, limits, speeds.engine_cycles, level_bytes)
    (found,) = search_tiles([one], speeds.hardware)
    if isinstance(found, NoTileError):
        raise found
    return found


def crossing_bytes(part, tile):
    """Every link of a stage, with the bytes that cross it."""
    return [(link, tile.crossing_bytes[OPERANDS.index(link.operand)]) for link in part.links]


def times(layer, part, tile):
    """How often every operand crosses; sums: visits."""
    sizes = whole_bytes(layer)
    ratios = {link.operand: moved / sizes[link.operand] for link, moved in crossing_bytes(part, tile)}
    return {x: 1 + ratio / 2 if x == "s" else ratio for x, ratio in ratios.items()}


def merit(layer, stages, tiles, speeds):
    """Cycles of the tiles, and the bytes of every memory, outermost first."""
    level_bytes = [0.0] * len(speeds.hardware.levels)
    for part, tile in zip(stages, tiles, strict=True):
        for link, moved in crossing_bytes(part, tile):
            level_bytes[link.source] += moved
            level_bytes[link.target] += moved
    return naive_tiling.merit(level_bytes, **told(speeds))


def told(speeds):
    levels = speeds.hardware.levels
    return {
        "bytes_per_cycle": [level.bytes_per_cycle for level in levels],
        "exposed": [not level.double_buffered for level in levels],
        "engine_cycles": speeds.engine_cycles,
    }


def naive(layer, stages, speeds, *, keep=False):
    def plain(part):
        rooms = [
            (room.capacity_bits, {x: BITS[x] for x, b in zip(OPERANDS, room.element_bits, strict=True) if b})
            for room in part.rooms
        ]
        return rooms, [(link.operand, link.target, link.source) for link in part.links]

    plain_stages = [plain(part) for part in reversed(stages)]
    return naive_tiling.best_merit(layer, plain_stages, bits=BITS, keep=keep, **told(speeds))


def plain_layers(largest):
    sizes = st.integers(1, largest)
    return st.builds(Plain, sizes, sizes, sizes)


CONVOLUTIONS = st.builds(
    lambda batch, size, kernel, channels, n: Convolution(
        batch=batch, size=size, kernel=kernel[0], stride=kernel[1], channels=channels, n=n
    ),
    st.integers(1, 2), st.integers(1, 3), st.sampled_from([(1, 1), (3, 1), (3, 2), (2, 2)]),
    st.integers(1, 3), st.integers(1, 3),
)  # fmt: skip


SPEEDS = st.sampled_from([0.5, 2.0, 16.0, 1e6])


@st.composite
def paces(draw, levels):
    """Memories of any speed, hidden or not, beside engines of any speed."""
    exposed = [level for level in range(levels) if draw(st.booleans())]
    return pace(
        *(draw(SPEEDS) for _ in range(levels)), engine_cycles=draw(st.integers(0, 60)), exposed=exposed
    )


@settings(max_examples=20, deadline=None)
@given(plain_layers(7), st.integers(25, 500), paces(2))
def test_one_memory_moves_what_the_best_walk_with_one_tile_per_operand_moves(layer, capacity, speeds):
    stages = (stage(layer, (capacity, "aws")),)
    found = merit(layer, stages, search(layer, stages, pace=speeds), speeds)
    assert found == naive(layer, stages, speeds, keep=True)


@settings(max_examples=15, deadline=None)
@given(CONVOLUTIONS, st.integers(150, 900), paces(2))
def test_windows_of_neighbouring_tiles_are_read_again(layer, capacity, speeds):
    stages = (stage(layer, (capacity, "aws")),)
    found = merit(layer, stages, search(layer, stages, pace=speeds), speeds)
    assert found == naive(layer, stages, speeds, keep=True)


NESTED = (("a", 0, 1), ("w", 0, 1), ("s", 0, 1)), (("a", 1, 2), ("w", 1, 2), ("s", 1, 2))


@settings(max_examples=15, deadline=None)
@given(plain_layers(4), st.integers(25, 100), st.integers(25, 200), paces(3))
def test_nested_memories_move_what_the_best_nested_walk_moves(layer, inner, outer, speeds):
    stages = (stage(layer, (inner, "aws"), links=NESTED[0]), stage(layer, (outer, "aws"), links=NESTED[1]))
    found = merit(layer, stages, search(layer, stages, pace=speeds), speeds)
    assert found == naive(layer, stages, speeds)


@settings(max_examples=15, deadline=None)
@given(plain_layers(4), st.integers(25, 100), st.integers(8, 60), st.sampled_from("aws"), paces(3))
def test_an_operand_that_passes_a_memory_by_is_part_of_the_same_search(layer, inner, outer, operand, speeds):
    held = "aws".replace(operand, "")
    links = tuple((x, 0, 1 if x in held else 2) for x in "aws")
    stages = (
        stage(layer, (inner, "aws"), links=links),
        stage(layer, (outer, held), links=tuple((x, 1, 2) for x in held)),
    )
    expected = naive(layer, stages, speeds)
    if expected is None:
        with pytest.raises(NoTileError):
            search(layer, stages, pace=speeds)
    else:
        assert merit(layer, stages, search(layer, stages, pace=speeds), speeds) == expected


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(plain_layers(12) | CONVOLUTIONS, st.integers(10, 400), st.integers(10, 800), st.booleans()),
        min_size=2,
        max_size=6,
    ),
    paces(3),
)
def test_layers_that_are_searched_together_get_the_tiles_of_each_alone(layers, speeds):
    def searching(layer, inner, outer, nested):
        stages = (
            stage(layer, (inner, "aws"), links=NESTED[0]),
            stage(layer, (outer, "aws"), links=NESTED[1]),
        )
        stages = stages if nested else stages[1:]
        limits = tuple(stage_limit(problem(layer), part, ()) for part in stages)
        return Search(problem(layer), stages, limits, speeds.engine_cycles, [0.0] * 3)

    searches = [searching(*layer) for layer in layers]
    together = search_tiles(searches, speeds.hardware)
    for one, found in zip(searches, together, strict=True):
        (alone,) = search_tiles([one], speeds.hardware)
        assert str(alone) == str(found) if isinstance(found, NoTileError) else alone == found


@settings(max_examples=15, deadline=None)
@given(plain_layers(6), st.integers(4, 120), st.integers(3, 60), st.integers(16, 200), paces(4))
def test_memories_side_by_side_share_one_tile(layer, first, second, sums, speeds):
    links = (("a", 0, 3), ("w", 1, 3), ("s", 2, 3))
    stages = (stage(layer, (first, "a"), (second, "w"), (sums, "s"), links=links),)
    found = merit(layer, stages, search(layer, stages, pace=speeds), speeds)
    assert found == naive(layer, stages, speeds)


@given(
    st.integers(1, 300),
    st.integers(1, 300),
    st.integers(1, 300),
    st.integers(25, 20000),
    st.integers(0, 9000),
    paces(2),
)
def test_a_larger_memory_is_never_slower_and_none_moves_less_than_the_operands(m, n, k, size, more, speeds):
    layer = Plain(m, n, k)
    merits = []
    for capacity in (size, size + more):
        stages = (stage(layer, (capacity, "aws")),)
        merits.append(merit(layer, stages, search(layer, stages, pace=speeds), speeds))
    assert merits[1] <= merits[0]
    assert merits[1][1] >= whole_bytes(layer)["a"] + whole_bytes(layer)["w"]


def test_time_comes_before_bytes_and_bytes_before_more_tiles():
    # 64 x 64 x 64 with 4 bits of A, 3 of W and 16 per sum. Behind the outer memory bytes are slow, or free.
    layer = Plain(64, 64, 64)
    stages = (
        stage(layer, (9000, "aws"), links=NESTED[0]),
        stage(layer, (12288 + 256 + 1024, "aws"), links=NESTED[1]),
    )
    slow_inside = pace(1.0, 1.0, 1e9)
    slow_outside = pace(1e9, 1e9, 1.0)
    inside, outside = (search(layer, stages, pace=speeds) for speeds in (slow_inside, slow_outside))
    # The least bytes from DRAM are single rows of A beside all of W, which cost the inner memory dearly.
    assert merit(layer, stages, outside, slow_outside)[1] == 2048 + 1536
    assert merit(layer, stages, inside, slow_inside)[0] < merit(layer, stages, outside, slow_inside)[0]
    assert merit(layer, stages, inside, slow_inside)[1] > 2048 + 1536
    # Beside slow engines both take the same time, and the least bytes from DRAM win again.
    patient = pace(1.0, 1.0, 1.0, engine_cycles=10**6)
    assert merit(layer, stages, search(layer, stages, pace=patient), patient)[1] == 2048 + 1536


@settings(max_examples=40, deadline=None)
@given(plain_layers(40) | CONVOLUTIONS, st.integers(150, 2000), st.integers(200, 3000))
def test_the_tiles_found_can_be_given_back(layer, inner, outer):
    stages = (
        Stage(rooms=(room("inner", inner, "aws"),), links=stage(layer, links=NESTED[0]).links),
        Stage(rooms=(room("outer", outer, "aws"),), links=stage(layer, links=NESTED[1]).links),
    )
    found = search(layer, stages)
    told = tuple(
        LevelTile(level=name, order=tile.order, m=tile.m, n=tile.n, k=tile.k)
        for name, tile in zip(("inner", "outer"), found, strict=True)
    )
    again = search(layer, stages, fixed=told)
    # A limit takes the fewest pieces, which may be fewer than a power of two.
    assert all(b.m <= a.m and b.n <= a.n and b.k <= a.k for a, b in zip(found, again, strict=True))
    assert merit(layer, stages, again, pace(1, 1, 1))[1] <= merit(layer, stages, found, pace(1, 1, 1))[1]


def one(layer, capacity, **options):
    """The tile of a single memory of ``capacity`` bits, and how often operands cross."""
    stages = (stage(layer, (capacity, "aws")),)
    (tile,) = search(layer, stages, **options)
    return tile, times(layer, stages[0], tile)


@pytest.mark.parametrize(
    ("capacity", "sizes", "w_times"),
    [
        # 8 x 8 x 8 with 4 bits of A, 3 of W and 16 per sum. All 256 + 192 + 1024 bits fit: one tile.
        (1472, (8, 8, 8), 1),
        # One bit less. Two tiles still move everything once; all sums stay (1024) while halves of k go by.
        (1471, (8, 8, 4), 1),
        # 352 bits: all of W (192) while single rows go by, each 32 and 128 of sums.
        (352, (1, 8, 8), 1),
        # 239 bits: no operand stays whole. 4 rows of A (128) stay while single columns go by, 24 of W and 64
        # of sums each: W crosses twice, 192 more. With half of W staying, A would cross twice, 256 more.
        (239, (4, 1, 8), 2),
    ],
)
def test_tiles_by_hand(capacity, sizes, w_times):
    tile, crossed = one(Plain(8, 8, 8), capacity)
    assert (tile.m, tile.n, tile.k) == sizes
    assert crossed == {"a": 1, "w": w_times, "s": 1}


def test_sums_that_leave_are_counted_each_time():
    # Room for all of A, two elements of W and one sum.
    layer = Plain(2, 2, 2)
    stages = (stage(layer, (10**6, "a"), (6, "w"), (16, "s")),)
    (tile,) = search(layer, stages, fixed=(LevelTile(level="r0", order="kmn", k=1),))
    # Order k, m, n: A stays while n runs, W crosses per row, a sum is visited for both k.
    assert times(layer, stages[0], tile) == {"a": 1, "w": 2, "s": 2}


def test_convolution_rows_by_hand():
    # 3 x 3 on 8 x 8 pixels, one channel to one: halves of 4 rows read rows 0-4 and 3-7, 10 of 8 rows.
    layer = Convolution(batch=1, size=8, kernel=3, stride=1, channels=1, n=1)
    tile, crossed = one(layer, 5 * 8 * 4 + 9 * 3 + 32 * 16)
    assert (tile.m, tile.n, tile.k) == (32, 1, 9)
    assert crossed["a"] == 10 / 8


def test_what_is_fixed_is_kept():
    tile, crossed = one(Plain(192, 10, 9), 10**6, fixed=(LevelTile(level="r0", order="nkm", m=100, k=4),))
    # Pieces of at most 100 of 192 rows are 2 of 96, of at most 4 of 9 are 3; m innermost: W stays.
    assert (tile.m, tile.n, tile.k, tile.order) == (96, 10, 3, "nkm")
    assert crossed == {"a": 1, "w": 1, "s": 3}


def test_an_order_whose_inner_loops_do_not_run_costs_what_really_crosses():
    _, crossed = one(Plain(4, 4, 4), 10**6, fixed=(LevelTile(level="r0", order="mkn", k=2),))
    assert crossed == {"a": 1, "w": 1, "s": 1}


@pytest.mark.parametrize("capacity", [16, 22])
def test_a_product_that_fits_nowhere_is_told_its_smallest_tile(capacity):
    message = r"memory 'r0': a tile may take .* \(m x n x k = 1 x 1 x 1\) takes 2.875; make the memory larger"
    with pytest.raises(NoTileError, match=message):
        one(Plain(4, 4, 4), capacity)
    one(Plain(4, 4, 4), 23)


def test_a_fixed_tile_that_does_not_fit_is_refused():
    with pytest.raises(NoTileError, match=r"the smallest one that the mapping allows .* or the tile smaller"):
        one(Plain(4, 4, 4), 100, fixed=(LevelTile(level="r0", m=4, n=4),))


def test_contradicting_mappings_are_refused():
    layer = Plain(4, 4, 4)
    both = (stage(layer, (100, "aw"), (100, "s")),)
    fixed = (LevelTile(level="r0", m=2), LevelTile(level="r1", m=3))
    with pytest.raises(
        InputError, match=r"fixes 'm' of memories that share one tile \(r0, r1\) to 2 and to 3"
    ):
        search(layer, both, fixed=fixed)
    layer = Convolution(batch=1, size=3, kernel=3, stride=1, channels=2, n=2)
    with pytest.raises(InputError, match=r"limits k to 8 at r0, but .* is one window, k = 9"):
        one(layer, 10**6, fixed=(LevelTile(level="r0", k=8),))
