"""The blocked product: windows, groups, storages, forms, halves, blocks, extremes."""

from __future__ import annotations

from itertools import pairwise

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hqsim.kernels.product import (
    BLOCK_COLUMNS,
    BLOCK_TILES,
    SHORT_COLUMNS,
    _blocks,
    _edge,
    multiply_codes,
    multiply_sums,
)
from hqsim.kernels.rows import Rows
from hqsim.kernels.tile import CHUNK_BYTES, COLUMNS, EIGHT, HAS_VNNI, PORTABLE, ROWS, SIXTEEN
from tests.kernels.products import FORMS, LIMITS, NEEDS_VNNI, Layer, Rescale, check, run_codes, run_sums

# batch, height, width, channels, outputs, kernel, stride, (top, left, bottom, right), groups
WINDOWS = [
    (1, 1, 1, 1, 1, (1, 1), 1, (0, 0, 0, 0), 1),
    (2, 4, 5, 3, 7, (1, 1), 1, (0, 0, 0, 0), 1),
    (2, 5, 4, 6, COLUMNS + 1, (3, 3), 1, (1, 1, 1, 1), 1),
    (1, 6, 6, 4, 17, (3, 3), 2, (0, 0, 1, 1), 1),
    (1, 5, 7, 2, 16, (3, 3), 2, (1, 1, 1, 1), 1),
    (1, 7, 6, 2, 3, (5, 5), 1, (2, 2, 2, 2), 1),
    (1, 3, 4, 9, 2, (2, 4), 1, (2, 0, 0, 3), 1),
    (1, 2, 2, 1, 1, (3, 3), 1, (2, 2, 2, 2), 1),
    (2, 9, 5, 1, 5, (4, 4), 4, (0, 0, 0, 0), 1),
    (1, 7, 6, 5, 2, (1, 1), 3, (0, 0, 0, 0), 1),
    (2, 5, 5, 8, 12, (3, 3), 2, (1, 1, 1, 1), 4),
    (1, 3, 4, 9, 6, (2, 2), 1, (1, 0, 0, 1), 3),
    (1, 4, 4, 5, 5, (3, 3), 1, (1, 1, 1, 1), 5),
]
KINDS = [
    pytest.param(*form.values, bits, id=f"{form.id}-{bits}bits", marks=form.marks)
    for form in FORMS
    for bits in (4, 8, 16)
    if form.values != (EIGHT,) or bits < 16
]
"""Every form of the tile with every storage of weights that it has."""


def codes(rng: np.random.Generator, low: int, high: int, shape: tuple[int, ...]) -> np.ndarray:
    """Random codes, both ends among them where there is room."""
    found = rng.integers(low, high + 1, shape)
    found.flat[0], found.flat[-1] = low, high
    return found


def make_layer(window: tuple, reach: tuple[int, int], weight_bits: int, zero_point: int = 0) -> Layer:
    batch, height, width, channels, outputs, kernel, stride, padding, groups = window
    rng = np.random.default_rng(channels)
    x = codes(rng, *reach, (batch, height, width, channels))
    half = 2 ** (weight_bits - 1)
    weight = codes(rng, -half, half - 1, (outputs, channels // groups, *kernel))
    return Layer(x, weight, stride, padding, groups, zero_point)


@pytest.mark.parametrize(("form", "weight_bits"), KINDS)
@pytest.mark.parametrize("window", WINDOWS)
def test_windows(window: tuple, form: int, weight_bits: int) -> None:
    layer = make_layer(window, (-128, 127) if form == EIGHT else (-256, 255), weight_bits)
    expected = layer.naive_sums()
    assert np.array_equal(layer.torch_sums(), expected)
    check(layer, form, expected)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("zero_point", [0, 1, 131, 255])
def test_unsigned_codes_and_their_zero_point(form: int, zero_point: int) -> None:
    """The padding is the zero-point; what it and the codes add is subtracted with the sums of the weights."""
    layer = make_layer(WINDOWS[2], (0, 255), 8, zero_point)
    check(layer, form, layer.naive_sums())


@pytest.mark.parametrize(("form", "weight_bits"), KINDS)
@pytest.mark.parametrize(
    ("channels", "kernel"), [(CHUNK_BYTES + 7, 1), (130, 3), (CHUNK_BYTES // 2, 1), (CHUNK_BYTES, 2)]
)
def test_a_reduction_longer_than_one_piece(channels: int, kernel: int, form: int, weight_bits: int) -> None:
    """The last piece ends within a pixel, at its end, or is a whole one."""
    window = (1, 4, 3, channels, 5, (kernel, kernel), 1, (1, 0, 0, 0), 1)
    layer = make_layer(window, (-128, 127) if form == EIGHT else (-256, 255), min(weight_bits, 10))
    check(layer, form, layer.torch_sums())


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("rows", "outputs"),
    [
        (ROWS - 1, 31),
        (ROWS, 32),
        (ROWS + 1, 33),
        (BLOCK_TILES * ROWS + 5, 40),
        (2 * BLOCK_TILES * ROWS + 1, SHORT_COLUMNS),
        (13, SHORT_COLUMNS + 1),
        (2, BLOCK_COLUMNS + 9),
    ],
)
@pytest.mark.parametrize("channels", [8, CHUNK_BYTES + 60])
def test_blocks_and_their_remainders(rows: int, outputs: int, channels: int, form: int) -> None:
    """Of rows that are one piece, and of longer ones."""
    layer = make_layer((1, 1, rows, channels, outputs, (1, 1), 1, (0, 0, 0, 0), 1), (-128, 127), 4)
    check(layer, form, layer.torch_sums())


@pytest.mark.parametrize("short", [False, True])
@pytest.mark.parametrize("threads", [1, 2, 3, 8, 64])
@pytest.mark.parametrize("groups", [1, 2, 3, 10])
def test_blocks_are_balanced_and_fit_their_buffers(groups: int, threads: int, short: bool) -> None:
    """Every row and every column lies in one block; blocks differ by a tile or a panel at most."""
    sizes = [*range(1, 40), 191, 192, 193, 384, 385, 1000, 4096, 5000]
    for rows, outputs in [*zip(sizes, reversed(sizes), strict=True), (7, 4097), (4097, 7), (1, 1)]:
        counts = _blocks(rows, outputs, groups, threads, short)
        limits = BLOCK_TILES * ROWS, None if short else BLOCK_COLUMNS
        for count, size, unit, limit in zip(counts, (rows, outputs), (ROWS, COLUMNS), limits, strict=True):
            edges = [int(_edge(index, count, size, unit)) for index in range(count + 1)]
            assert (edges[0], edges[-1]) == (0, size)
            assert all(edge % unit == 0 for edge in edges[:-1])
            units = [-(-(end - start) // unit) for start, end in pairwise(edges)]
            assert 0 <= min(units) <= max(units) <= min(units) + 1
            assert limit is None or max(units) * unit <= limit
        row_blocks, column_blocks = counts
        assert 1 <= column_blocks <= -(-outputs // COLUMNS)
        # Two threads share the blocks of rows evenly.
        assert row_blocks * groups == 1 or row_blocks * groups % 2 == 0


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
def test_few_rows_are_cut_into_columns_for_the_threads(threads: int) -> None:
    assert _blocks(1, 4096, 1, threads, True) == (1, threads)
    assert _blocks(1, 64, 1, threads, True) == (1, min(threads, 2))
    assert _blocks(1, 4096, 1, threads, False) == (1, 4096 // BLOCK_COLUMNS)


@pytest.mark.parametrize("threads", [2, 3, 7, 64])
def test_the_number_of_threads_decides_the_blocks_alone(threads: int) -> None:
    layer = make_layer((2, 11, 9, 6, 70, (3, 3), 1, (1, 1, 1, 1), 2), (-256, 255), 8)
    check(layer, PORTABLE, layer.torch_sums(), threads=threads)
    few_rows = make_layer((1, 1, 1, 6, 200, (1, 1), 1, (0, 0, 0, 0), 1), (-256, 255), 8)
    check(few_rows, PORTABLE, few_rows.torch_sums(), threads=threads)


@pytest.mark.parametrize("form", FORMS)
def test_more_blocks_than_rows(form: int) -> None:
    """Three groups of one tile make six blocks of rows for two threads, three of them empty."""
    layer = make_layer((1, 1, 5, 9, 6, (1, 1), 1, (0, 0, 0, 0), 3), (-128, 127), 4)
    assert _blocks(5, 2, 3, 2, True)[0] == 2
    check(layer, form, layer.naive_sums(), threads=2)


@NEEDS_VNNI
@pytest.mark.parametrize("weight_bits", [4, 8, 16])
@pytest.mark.parametrize("window", [*WINDOWS, (2, 9, 9, 60, 45, (3, 3), 1, (1, 1, 1, 1), 1)])
def test_every_form_gives_the_same_bytes(window: tuple, weight_bits: int) -> None:
    """The same codes with and without VNNI, statistics included."""
    layer = make_layer(window, (-128, 127), weight_bits)
    rescale = Rescale.of(layer.torch_sums())
    forms = (EIGHT, SIXTEEN, PORTABLE)[int(weight_bits == 16) :]
    sums = {run_sums(layer, form).tobytes() for form in forms}
    found = [run_codes(layer, form, rescale) for form in forms]
    assert len(sums) == 1
    assert len({made.tobytes() for made, _ in found}) == 1
    assert len({observed for _, observed in found}) == 1


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("kinds", [1, 2, 6])
@pytest.mark.parametrize(("channels", "outputs"), [(8, 34), (8, 6 * COLUMNS + 2), (256, 34)])
def test_halved_rows_take_their_parity_from_few_columns(
    form: int, groups: int, kinds: int, channels: int, outputs: int
) -> None:
    """``sum + halves``, where several output columns share a column of ``halves``.

    In one block of columns, in several, and of rows of several pieces.
    """
    layer = make_layer((2, 4, 6, channels, outputs, (3, 3), 1, (1, 1, 1, 1), groups), (-128, 127), 4)
    rng = np.random.default_rng(kinds)
    half_of = rng.permutation(np.arange(6) % kinds)
    halves = rng.integers(-(2**20), 2**20, (groups, 2 * 4 * kinds, outputs // groups)).astype(np.int32)
    sums = layer.torch_sums()
    for group, row, output in np.ndindex(sums.shape):
        pixel_row, column = divmod(row, 6)
        sums[group, row, output] += halves[group, pixel_row * kinds + half_of[column], output]
    rescale = Rescale.of(sums)
    found, observed = run_codes(layer, form, rescale, halves=halves, half_of=half_of)
    expected, saturated = rescale.naive_codes(sums)
    assert np.array_equal(found, expected)
    assert observed == (saturated, sums.min(), sums.max())


@pytest.mark.parametrize(
    ("form", "code", "weight"),
    [
        pytest.param(EIGHT, 255, -128, marks=NEEDS_VNNI),
        pytest.param(EIGHT, 255, 127, marks=NEEDS_VNNI),
        pytest.param(EIGHT, -128, -128, marks=NEEDS_VNNI),
        pytest.param(EIGHT, -128, 127, marks=NEEDS_VNNI),
        pytest.param(SIXTEEN, -32768, -128, marks=NEEDS_VNNI),
        pytest.param(SIXTEEN, 32767, -128, marks=NEEDS_VNNI),
        (PORTABLE, -32768, -128),
        (PORTABLE, -32768, -8),
        (PORTABLE, 32767, 127),
    ],
)
def test_extremes_in_every_place(form: int, code: int, weight: int) -> None:
    layer = Layer(np.full((1, 4, 4, 9), code), np.full((33, 9, 3, 3), weight), padding=(1, 1, 1, 1))
    expected = layer.naive_sums()
    assert expected[0, 5, 0] == 81 * code * weight
    check(layer, form, expected)


@pytest.mark.parametrize("form", [pytest.param(SIXTEEN, marks=NEEDS_VNNI), PORTABLE])
@pytest.mark.parametrize(("code", "weight"), [(-32768, -128), (-32768, 127), (-32768, 8128), (181, 181)])
def test_sums_beyond_32_bits_by_short_pieces(form: int, code: int, weight: int) -> None:
    """A piece is so short that its products fit 32 bits; the pieces are added in 64."""
    terms = 2**32 // abs(code * weight) + 5
    piece_bytes = min(CHUNK_BYTES, (2**31 - 1) // abs(code * weight) // 4 * 8)
    layer = Layer(np.full((1, 1, 1, terms), code), np.full((1, terms, 1, 1), weight))
    sums = run_sums(layer, form, piece_bytes=piece_bytes)
    assert sums.item() == terms * code * weight
    assert abs(sums.item()) > 2**32


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("sign", [1, -1])
def test_a_sum_may_fill_32_bits(form: int, sign: int) -> None:
    """The shift by 128 takes sum and correction past 2**32; modulo that, their difference is the true sum."""
    terms = (2**31 - 1) // 127**2
    layer = Layer(np.full((1, 1, 1, terms), 127 * sign), np.full((1, terms, 1, 1), 127))
    assert 2**31 - 2**14 < terms * 127**2 < 2**31
    sums = np.full((1, 1, 1), terms * 127**2 * sign)
    rescale = Rescale.of(sums)
    codes, observed = run_codes(layer, form, rescale)
    expected, saturated = rescale.naive_codes(sums)
    assert np.array_equal(codes, expected)
    assert observed == (saturated, sums.item(), sums.item())


@pytest.mark.parametrize("form", FORMS)
def test_what_a_flip_or_a_zero_point_added_may_leave_32_bits(form: int) -> None:
    """Sum and correction pass 2**32, their difference does not: modulo 2**32 it is the true sum."""
    terms, rng = 140_000, np.random.default_rng(0)
    x = rng.integers(253, 256, (1, 1, 2, terms))
    layer = Layer(x, rng.integers(120, 128, (5, terms, 1, 1)), zero_point=255)
    added = 255 * layer.weight.sum(axis=(1, 2, 3))
    assert (added > 2**32).all()
    expected = layer.torch_sums()
    assert (np.abs(expected) < 2**25).all()
    rescale = Rescale.of(expected)
    codes, observed = run_codes(layer, form, rescale)
    expected_codes, saturated = rescale.naive_codes(expected)
    assert np.array_equal(codes, expected_codes)
    assert observed == (saturated, expected.min(), expected.max())


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("turns", [-3, 1, 2])
def test_an_offset_counts_modulo_32_bits(form: int, turns: int) -> None:
    layer = make_layer(WINDOWS[2], (-128, 127), 8)
    expected = layer.naive_sums()
    rescale = Rescale.of(expected)
    *before, offset, threads = layer.arguments(form)
    arguments = (*before, offset + turns * 2**32, threads)
    no_halves = np.zeros((0, 0, 0), np.int32), np.zeros(1, np.int64)
    codes = np.full(layer.kernel_shape, 99, np.int16)
    no_sums = np.empty((layer.groups, 0, 0), np.int32)
    multiply_codes(*arguments, *no_halves, *rescale.arguments(), *LIMITS, codes, no_sums)
    assert np.array_equal(codes, rescale.naive_codes(expected)[0])
    sums = np.full(layer.kernel_shape, 99, np.int64)
    multiply_sums(*arguments, CHUNK_BYTES, sums)
    assert np.array_equal(sums, expected)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("window", WINDOWS)
def test_sums_of_32_bits(window: tuple, form: int) -> None:
    layer = make_layer(window, (-128, 127), 8)
    sums = run_sums(layer, form, dtype=np.int32)
    assert sums.dtype == np.int32
    assert np.array_equal(sums, layer.naive_sums())


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("halved", [False, True])
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize(("channels", "outputs"), [(8, 34), (8, 6 * COLUMNS + 2), (256, 34)])
def test_sums_instead_of_codes(channels: int, outputs: int, threads: int, halved: bool, form: int) -> None:
    """``multiply_codes`` writes the sums that it would rescale; it observes nothing."""
    layer = make_layer((2, 4, 6, channels, outputs, (3, 3), 1, (1, 1, 1, 1), 2), (-128, 127), 4)
    expected = layer.torch_sums()
    halves, half_of = np.zeros((0, 0, 0), np.int32), np.zeros(6, np.int64)
    if halved:
        halves = np.random.default_rng(0).integers(-(2**20), 2**20, (2, 2 * 4, outputs // 2)).astype(np.int32)
        expected = expected + np.repeat(halves, 6, axis=1)
    sums, no_codes = np.full(layer.kernel_shape, 99, np.int32), np.empty((2, 0, 0), np.int16)
    zeros = np.zeros(outputs // 2, np.int64)
    scaling = zeros.astype(np.int32), zeros, 0, zeros, 0, 0
    found = multiply_codes(*layer.arguments(form, threads), halves, half_of, *scaling, no_codes, sums)
    assert np.array_equal(sums, expected)
    assert found == (0, 2**31, -(2**31))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("window", [window for window in WINDOWS if window[8] == 1])
def test_groups_may_share_rows_and_pass_over_panels(window: tuple, form: int) -> None:
    """A group for every tap column: one column of the window each, of the same pixels, unpadded."""
    layer = make_layer(window, (0, 127), 4)
    x, layout, columns, *panels, offset, threads = layer.arguments(form)
    rows = Rows(*layout.tolist())
    kernel_height, kernel_width = layer.weight.shape[2:]
    skip = kernel_height * rows.padded_run
    layout = np.array(rows._replace(kernel_width=1, left=0, group=0, skip=skip))
    columns = np.arange(layer.x.shape[2])
    parts = [
        layer._replace(weight=layer.weight[:, :, :, column : column + 1], stride=1)
        for column in range(kernel_width)
    ]
    top, _, bottom, _ = layer.padding
    expected = []
    for part in parts:
        sums = part._replace(padding=(top, 0, bottom, 0)).torch_sums()
        lines = sums.reshape(len(layer.x), -1, layer.x.shape[2], len(layer.weight))
        expected.append(lines[:, :: layer.stride][:, : layer.size[0]].reshape(-1, len(layer.weight)))
    shape = (kernel_width, len(layer.x) * layer.size[0] * layer.x.shape[2], len(layer.weight))
    sums = np.full(shape, 99, np.int64)
    multiply_sums(x, layout, columns, *panels, offset, threads, CHUNK_BYTES, sums)
    assert np.array_equal(sums, np.stack(expected))


@pytest.mark.parametrize("form", FORMS)
def test_what_fills_a_tile_is_not_observed(form: int) -> None:
    """13 rows and 5 columns whose sums are all negative: the largest is not the 0 of an empty place."""
    layer = Layer(np.full((1, 1, 13, 3), 10), np.full((5, 3, 1, 1), -1))
    _, observed = run_codes(layer, form, Rescale.of(layer.naive_sums()))
    assert observed[1:] == (-30, -30)


def test_a_single_pixel_shows_the_kernel_itself() -> None:
    """An impulse in the middle returns the weights, mirrored: a cross-correlation, as in torch."""
    x = np.zeros((1, 3, 3, 1), np.int64)
    x[0, 1, 1, 0] = 1
    layer = Layer(x, np.arange(9).reshape(1, 1, 3, 3), padding=(1, 1, 1, 1))
    assert run_sums(layer, PORTABLE).ravel().tolist() == [8, 7, 6, 5, 4, 3, 2, 1, 0]


@given(st.data())
def test_any_layer(data: st.DataObject) -> None:
    """Every choice at once."""
    draw = data.draw
    kernel = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)), "kernel")
    padding = draw(st.tuples(*[st.integers(0, 3)] * 4), "padding")
    height = draw(st.integers(max(1, kernel[0] - padding[0] - padding[2]), 6), "height")
    width = draw(st.integers(max(1, kernel[1] - padding[1] - padding[3]), 6), "width")
    groups = draw(st.integers(1, 3), "groups")
    channels = groups * draw(st.integers(1, 9), "channels of a group")
    outputs = groups * draw(st.integers(1, 40), "outputs of a group")
    stride, batch = draw(st.integers(1, 3), "stride"), draw(st.integers(1, 2), "batch")
    forms = (EIGHT, SIXTEEN, PORTABLE) if HAS_VNNI or numba.config.DISABLE_JIT else (PORTABLE,)
    form = draw(st.sampled_from(forms), "form")
    weight_bits = draw(st.sampled_from([2, 4, 5, 8] + [12] * (form != EIGHT)), "weight bits")
    signed = draw(st.booleans(), "signed")
    zero_point = 0 if signed else draw(st.integers(0, 255), "zero-point")
    window = (batch, height, width, channels, outputs, kernel, stride, padding, groups)
    layer = make_layer(window, (-128, 127) if signed else (0, 255), weight_bits, zero_point)
    threads = draw(st.integers(1, 5), "threads")
    expected = layer.torch_sums()
    assert np.array_equal(run_sums(layer, form, threads=threads), expected)
    rescale = Rescale(
        np.full(outputs // groups, 2**14, np.int32),
        np.full(outputs // groups, 20),
        np.zeros(outputs // groups, np.int64),
    )
    found, (saturated, smallest, largest) = run_codes(layer, form, rescale, threads=threads)
    values = np.floor_divide(expected * 2**14 + 2**19, 2**20)
    assert np.array_equal(found, values.clip(-1000, 900))
    assert saturated == np.count_nonzero((values < -1000) | (values > 900))
    assert (smallest, largest) == (expected.min(), expected.max())
