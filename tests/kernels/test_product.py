"""The blocked product: windows, groups, storages, forms, halves, blocks, extremes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hqsim.kernels.product import BLOCK_COLUMNS, BLOCK_ROWS
from hqsim.kernels.tile import CHUNK_BYTES, COLUMNS, EIGHT, PORTABLE, ROWS, SIXTEEN
from tests.kernels.products import FORMS, NEEDS_VNNI, Layer, Rescale, check, run_codes, run_sums

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
    [(ROWS - 1, 31), (ROWS, 32), (ROWS + 1, 33), (BLOCK_ROWS + 5, 40), (2, BLOCK_COLUMNS + 9)],
)
def test_blocks_and_their_remainders(rows: int, outputs: int, form: int) -> None:
    layer = make_layer((1, 1, rows, 8, outputs, (1, 1), 1, (0, 0, 0, 0), 1), (-128, 127), 4)
    check(layer, form, layer.torch_sums())


@pytest.mark.parametrize("threads", [2, 3, 7, 64])
def test_the_number_of_threads_decides_the_blocks_alone(threads: int) -> None:
    layer = make_layer((2, 11, 9, 6, 70, (3, 3), 1, (1, 1, 1, 1), 2), (-256, 255), 8)
    check(layer, PORTABLE, layer.torch_sums(), threads=threads)


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
def test_halved_rows_take_their_parity_from_few_columns(form: int, groups: int, kinds: int) -> None:
    """``2 * sum + halves``, where several output columns share a column of ``halves``."""
    layer = make_layer((2, 4, 6, 8, 34, (3, 3), 1, (1, 1, 1, 1), groups), (-128, 127), 4)
    rng = np.random.default_rng(kinds)
    half_of = rng.permutation(np.arange(6) % kinds)
    halves = rng.integers(-500, 500, (groups, 2 * 4 * kinds, 34 // groups)).astype(np.int32)
    sums = 2 * layer.naive_sums()
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
    form = draw(st.sampled_from([parameter.values[0] for parameter in FORMS]), "form")
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
