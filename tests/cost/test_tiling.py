"""The search for tiles against a walk over every tile of every tiling, and by hand."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hqsim.cost.mapping import LevelTile
from hqsim.cost.tile_grid import NoTileError, Room, Stage, TileProblem
from hqsim.cost.tiling import search_tiles
from hqsim.errors import InputError
from hqsim.graph.record import ConvWork
from tests.cost import naive_tiling
from tests.cost.naive_tiling import Convolution, Plain

BITS = {"a": 4, "w": 3, "s": 16}


def problem(layer):
    """The layer for the search, with ``BITS`` per element."""
    m, n, k = layer.sizes
    conv, elements = None, m * k
    if isinstance(layer, Convolution):
        size, out = layer.in_size, layer.out_size
        conv = ConvWork(
            kernel_h=layer.kernel, kernel_w=layer.kernel, stride_h=layer.stride, stride_w=layer.stride,
            in_h=size, in_w=size, out_h=out, out_w=out,
            in_channels=layer.channels, out_channels=n, groups=1, batch=layer.batch,
        )  # fmt: skip
        elements = layer.batch * size * size * layer.channels
    return TileProblem(
        m=m, n=n, k=k, conv=conv,
        a_bits=elements * BITS["a"], w_bits=n * k * BITS["w"], sum_bits=m * n * BITS["s"],
    )  # fmt: skip


def room(level, capacity, operands):
    return Room(level=level, capacity_bits=capacity, element_bits=tuple((x, BITS[x]) for x in operands))


def stage(*rooms, **sources):
    """Rooms r0, r1, ... as (capacity in bits, operands), sources by operand."""
    return Stage(
        rooms=tuple(room(f"r{i}", *given) for i, given in enumerate(rooms)), sources=tuple(sources.items())
    )


def cost(layer, stages, tiles):
    """What the search says that its tiles move: bits by source, outermost first."""
    whole = problem(layer)
    moved = {}
    for part, tile in zip(stages, tiles, strict=True):
        bits = {
            "a": lambda times: whole.a_bits * times,
            "w": lambda times: whole.w_bits * times,
            "s": lambda visits: 2 * whole.sum_bits * (visits - 1),
        }
        for operand, source in part.sources:
            moved[source] = moved.get(source, 0) + bits[operand](tile.times[operand])
    return tuple(moved[source] for source in sorted(moved, reverse=True))


def naive(layer, stages, *, keep=False):
    plain = [
        ([(room.capacity_bits, dict(room.element_bits)) for room in part.rooms], dict(part.sources))
        for part in reversed(stages)
    ]
    return naive_tiling.best_cost(layer, plain, bits=BITS, keep=keep)


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


@settings(max_examples=20, deadline=None)
@given(plain_layers(7), st.integers(25, 500))
def test_one_memory_moves_what_the_best_walk_with_one_tile_per_operand_moves(layer, capacity):
    stages = (stage((capacity, "aws"), a=1, w=1, s=1),)
    assert cost(layer, stages, search_tiles(problem(layer), stages)) == naive(layer, stages, keep=True)


@settings(max_examples=15, deadline=None)
@given(CONVOLUTIONS, st.integers(150, 900))
def test_windows_of_neighbouring_tiles_are_read_again(layer, capacity):
    stages = (stage((capacity, "aws"), a=1, w=1, s=1),)
    assert cost(layer, stages, search_tiles(problem(layer), stages)) == pytest.approx(
        naive(layer, stages, keep=True)
    )


@settings(max_examples=10, deadline=None)
@given(plain_layers(4), st.integers(25, 100), st.integers(25, 200))
def test_nested_memories_move_what_the_best_nested_walk_moves(layer, inner, outer):
    stages = (stage((inner, "aws"), a=1, w=1, s=1), stage((outer, "aws"), a=2, w=2, s=2))
    assert cost(layer, stages, search_tiles(problem(layer), stages)) == naive(layer, stages)


@settings(max_examples=10, deadline=None)
@given(plain_layers(4), st.integers(25, 100), st.integers(8, 60), st.sampled_from("aws"))
def test_an_operand_that_passes_a_memory_by_is_part_of_the_same_search(layer, inner, outer, operand):
    held = "aws".replace(operand, "")
    sources = {x: 1 if x in held else 2 for x in "aws"}
    stages = (stage((inner, "aws"), **sources), stage((outer, held), **dict.fromkeys(held, 2)))
    try:
        expected = naive(layer, stages)
    except TypeError:
        expected = None
    if expected is None:
        with pytest.raises(NoTileError):
            search_tiles(problem(layer), stages)
    else:
        assert cost(layer, stages, search_tiles(problem(layer), stages)) == expected


@settings(max_examples=15, deadline=None)
@given(plain_layers(6), st.integers(4, 120), st.integers(3, 60), st.integers(16, 200))
def test_memories_side_by_side_share_one_tile(layer, first, second, sums):
    stages = (stage((first, "a"), (second, "w"), (sums, "s"), a=3, w=3, s=3),)
    assert cost(layer, stages, search_tiles(problem(layer), stages)) == naive(layer, stages, keep=True)


@given(
    st.integers(1, 300),
    st.integers(1, 300),
    st.integers(1, 300),
    st.integers(25, 20000),
    st.integers(0, 9000),
)
def test_a_larger_memory_never_moves_more_and_none_moves_less_than_the_operands(m, n, k, capacity, more):
    layer = Plain(m, n, k)
    moved = []
    for size in (capacity, capacity + more):
        stages = (stage((size, "aws"), a=1, w=1, s=1),)
        moved.append(cost(layer, stages, search_tiles(problem(layer), stages))[0])
    assert moved[1] <= moved[0]
    assert moved[1] >= problem(layer).a_bits + problem(layer).w_bits


@settings(max_examples=40, deadline=None)
@given(plain_layers(40) | CONVOLUTIONS, st.integers(150, 2000), st.integers(200, 3000))
def test_the_tiles_found_can_be_given_back(layer, inner, outer):
    stages = (
        Stage(rooms=(room("inner", inner, "aws"),), sources=(("a", 1), ("w", 1), ("s", 1))),
        Stage(rooms=(room("outer", outer, "aws"),), sources=(("a", 2), ("w", 2), ("s", 2))),
    )
    found = search_tiles(problem(layer), stages)
    told = tuple(
        LevelTile(level=name, order=tile.order, m=tile.m, n=tile.n, k=tile.k)
        for name, tile in zip(("inner", "outer"), found, strict=True)
    )
    again = search_tiles(problem(layer), stages, told)
    # A limit takes the fewest pieces, which may be fewer than a power of two.
    assert all(b.m <= a.m and b.n <= a.n and b.k <= a.k for a, b in zip(found, again, strict=True))
    assert cost(layer, stages, again)[0] <= cost(layer, stages, found)[0] + 1e-6


def single(capacity):
    return (stage((capacity, "aws"), a=1, w=1, s=1),)


def test_tiles_by_hand():
    # 8 x 8 x 8 with 4 bits of A, 3 of W and 16 per sum. All 256 + 192 + 1024 bits fit: one tile.
    (tile,) = search_tiles(problem(Plain(8, 8, 8)), single(1472))
    assert (tile.m, tile.n, tile.k, tile.times) == (8, 8, 8, {"a": 1, "w": 1, "s": 1})
    # One bit less. Two tiles still move everything once; all sums stay (1024) while halves of k go by.
    (tile,) = search_tiles(problem(Plain(8, 8, 8)), single(1471))
    assert (tile.m, tile.n, tile.k, tile.times) == (8, 8, 4, {"a": 1, "w": 1, "s": 1})
    # 352 bits: all of W (192) while single rows go by, each 32 and 128 of sums.
    (tile,) = search_tiles(problem(Plain(8, 8, 8)), single(352))
    assert (tile.m, tile.n, tile.k, tile.times) == (1, 8, 8, {"a": 1, "w": 1, "s": 1})
    # 239 bits: no operand stays whole. 4 rows of A (128) stay while single columns go by, 24 of W and 64 of
    # sums each: W crosses twice, 192 more. With half of W staying instead, A would cross twice, 256 more.
    (tile,) = search_tiles(problem(Plain(8, 8, 8)), single(239))
    assert (tile.m, tile.n, tile.k, tile.times) == (4, 1, 8, {"a": 1, "w": 2, "s": 1})


def test_sums_that_leave_are_counted_each_time():
    # Room for all of A, two elements of W and one sum.
    stages = (stage((10**6, "a"), (6, "w"), (16, "s"), a=1, w=1, s=1),)
    fixed = (LevelTile(level="r0", order="kmn", k=1),)
    (tile,) = search_tiles(problem(Plain(2, 2, 2)), stages, fixed)
    # Order k, m, n: A stays while n runs, W crosses per row, a sum is visited for both k.
    assert tile.times == {"a": 1, "w": 2, "s": 2}


def test_convolution_rows_by_hand():
    # 3 x 3 on 8 x 8 pixels, one channel to one: halves of 4 rows read rows 0-4 and 3-7, 10 of 8 rows.
    layer = Convolution(batch=1, size=8, kernel=3, stride=1, channels=1, n=1)
    (tile,) = search_tiles(problem(layer), single(5 * 8 * 4 + 9 * 3 + 32 * 16))
    assert (tile.m, tile.n, tile.k) == (32, 1, 9)
    assert tile.times["a"] == 10 / 8


def test_what_is_fixed_is_kept():
    whole = problem(Plain(192, 10, 9))
    (tile,) = search_tiles(whole, single(10**6), (LevelTile(level="r0", order="nkm", m=100, k=2),))
    # Pieces of at most 100 of 192 rows are 2 of 96, of at most 2 of 9 are 5; m innermost: W stays.
    assert (tile.m, tile.n, tile.k, tile.order) == (96, 10, 2, "nkm")
    assert tile.times == {"a": 1, "w": 1, "s": 5}


def test_an_order_whose_inner_loops_do_not_run_costs_what_really_crosses():
    (tile,) = search_tiles(problem(Plain(4, 4, 4)), single(10**6), (LevelTile(level="r0", order="mkn", k=2),))
    assert tile.times == {"a": 1, "w": 1, "s": 1}


@pytest.mark.parametrize("capacity", [16, 22])
def test_a_product_that_fits_nowhere_is_told_its_smallest_tile(capacity):
    message = r"memory 'r0': a tile may take .* \(m x n x k = 1 x 1 x 1\) takes 2.875; make the memory larger"
    with pytest.raises(NoTileError, match=message):
        search_tiles(problem(Plain(4, 4, 4)), single(capacity))
    search_tiles(problem(Plain(4, 4, 4)), single(23))


def test_a_fixed_tile_that_does_not_fit_is_refused():
    with pytest.raises(NoTileError, match=r"the smallest one that the mapping allows .* or the tile smaller"):
        search_tiles(problem(Plain(4, 4, 4)), single(100), (LevelTile(level="r0", m=4, n=4),))


def test_contradicting_mappings_are_refused():
    both = (stage((100, "aw"), (100, "s"), a=2, w=2, s=2),)
    fixed = (LevelTile(level="r0", m=2), LevelTile(level="r1", m=3))
    with pytest.raises(
        InputError, match=r"fixes 'm' of memories that share one tile \(r0, r1\) to 2 and to 3"
    ):
        search_tiles(problem(Plain(4, 4, 4)), both, fixed)
    layer = Convolution(batch=1, size=3, kernel=3, stride=1, channels=2, n=2)
    with pytest.raises(InputError, match=r"limits k to 8 at r0, but .* is one window, k = 9"):
        search_tiles(problem(layer), single(10**6), (LevelTile(level="r0", k=8),))
