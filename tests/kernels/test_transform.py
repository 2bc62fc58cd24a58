"""Butterflies against dense ±1 matrices: lanes along an inner axis or rows, signs, zero-points, halves."""

from __future__ import annotations

import numpy as np
import pytest

from hqsim.kernels.transform import (
    invert_lanes,
    invert_rows,
    invert_transform,
    quantize_by_channel,
    quantize_lanes,
    quantize_rows,
    quantize_transformed,
)
from tests import naive

ORDERS = [0, 1, 2, 3, 5, 6]
# outer, blocks, inner
LAYOUTS = [(1, 1, 1), (3, 2, 1), (2, 1, 5), (2, 3, 2)]
LONG = [(67, 1, 1), (1, 1, 64), (2, 2, 71)]
INNER = [1, 5, 64, 65, 200, 700]
I16 = (-32768, 32767)


def make_signs(order: int, with_signs: bool) -> np.ndarray:
    n = 2**order
    return np.array(naive.rudin_shapiro(n) if with_signs else [1] * n)


def room(shape: tuple[int, int, int], dtype: type) -> tuple[np.ndarray, np.ndarray]:
    """An array of 99 amid 100 more on either side, and itself."""
    whole = np.full(200 + np.prod(shape), 99, dtype)
    return whole, whole[100:-100].reshape(shape)


def dense(x: np.ndarray, signs: np.ndarray, *, inverse: bool = False) -> np.ndarray:
    """``naive.transform`` by a matrix, int64: for arrays too large for its loops."""
    blocks = x.astype(np.int64).reshape(len(x), -1, len(signs), x.shape[2])
    matrix, signs = np.array(naive.hadamard(len(signs))), signs[:, None]
    spread = signs * (matrix @ blocks) if inverse else matrix @ (signs * blocks)
    return spread.reshape(x.shape)


def quantize(
    x: np.ndarray,
    signs: np.ndarray,
    factor: tuple[int, int],
    limits: tuple[int, int],
    zero: int = 0,
    dtype: type = np.int8,
) -> tuple[np.ndarray, int]:
    codes = np.full(x.shape, 99, dtype)
    saturated = quantize_transformed(x, signs, np.array([*factor, zero]), *limits, codes)
    return codes, saturated


def invert(
    codes: np.ndarray,
    signs: np.ndarray,
    zero: int = 0,
    dtype: type = np.int16,
    narrow: bool | None = None,
) -> np.ndarray:
    operand, no_parity = np.full(codes.shape, 99, dtype), np.empty((0, 0, 0), np.uint8)
    invert_transform(codes, signs, np.int64(zero), False, operand, no_parity, narrow=narrow)
    return operand


def invert_halved(
    codes: np.ndarray, signs: np.ndarray, zero: int, dtype: type, narrow: bool | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Operand and parity bits.

    Along rows (``inner`` 1) the bits stand twice at the end of each row, elsewhere in an array of their own.
    """
    outer, length, inner = codes.shape
    blocks = length // len(signs)
    operand = np.full((outer, length + (2 * blocks if inner == 1 else 0), inner), 99, dtype)
    parity = np.full((outer, blocks, inner), 99, np.uint8)
    invert_transform(codes, signs, np.int64(zero), True, operand, parity, narrow=narrow)
    if inner == 1:
        assert (parity == 99).all()
        parity = operand[:, length : length + blocks]
        assert np.array_equal(parity, operand[:, length + blocks :])
        operand = operand[:, :length]
    return operand, parity


def test_the_matrix_is_the_definition() -> None:
    x = np.random.default_rng(0).integers(-99, 99, (2, 16, 3))
    for signs in (make_signs(2, True), make_signs(3, True), make_signs(4, False)):
        for inverse in (False, True):
            expected = naive.transform(x, signs.tolist(), inverse=inverse).astype(np.int64)
            assert np.array_equal(dense(x, signs, inverse=inverse), expected)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("with_signs", [False, True])
def test_quantize(order: int, layout: tuple[int, int, int], with_signs: bool) -> None:
    outer, blocks, inner = layout
    signs = make_signs(order, with_signs)
    x = np.random.default_rng(0).integers(-32768, 32768, (outer, len(signs) * blocks, inner)).astype(np.int16)
    factor = (20000, 27 + order // 2)
    expected, clipped = naive.quantize_blocks(x, signs.tolist(), *factor, -8, 7)
    codes, saturated = quantize(x, signs, factor, (-8, 7))
    assert np.array_equal(codes, expected)
    assert saturated == clipped


@pytest.mark.parametrize("order", [0, 1, 3, 6])
@pytest.mark.parametrize("shift", [0, 27, 62])
def test_quantize_by_channel(order: int, shift: int) -> None:
    """A channel with exponent ``e`` has the codes of a shift by ``e`` more places, times ``2**e``."""
    signs = make_signs(order, True)
    x = np.random.default_rng(2).integers(-32768, 32768, (5, 2 * len(signs), 1)).astype(np.int16)
    exponents = np.random.default_rng(3).integers(0, 4, x.shape[1])
    codes = np.full(x.shape[:2], 99, np.int16)
    saturated = quantize_by_channel(x[:, :, 0], signs, np.array([20000, shift, 0]), exponents, -8, 7, codes)
    clipped = 0
    for exponent in range(4):
        own = np.flatnonzero(exponents == exponent)
        plain, _ = naive.quantize_blocks(x, signs.tolist(), 20000, shift + exponent, -8, 7)
        wide, _ = naive.quantize_blocks(x, signs.tolist(), 20000, shift + exponent, -(2**62), 2**62)
        assert np.array_equal(codes[:, own], plain[:, own, 0] * 2**exponent)
        clipped += int((plain != wide)[:, own].sum())
    assert saturated == clipped


@pytest.mark.parametrize("zero", [0, 3, 15])
@pytest.mark.parametrize("layout", [(3, 2, 1), *LONG])
def test_quantize_with_a_zero_point(layout: tuple[int, int, int], zero: int) -> None:
    """The zero-point is added before the clamp."""
    outer, blocks, inner = layout
    signs = make_signs(2, True)
    x = np.random.default_rng(1).integers(-32768, 32768, (outer, 4 * blocks, inner)).astype(np.int16)
    codes, saturated = quantize(x, signs, (20000, 28), (0, 15), zero, np.int16)
    expected, clipped = naive.quantize_blocks(x, signs.tolist(), 20000, 28, -zero, 15 - zero)
    assert np.array_equal(codes, expected + zero)
    assert saturated == clipped


@pytest.mark.parametrize("order", range(7))
@pytest.mark.parametrize("inner", INNER)
@pytest.mark.parametrize(
    ("low", "high", "zero", "dtype"),
    [(-8, 7, 0, np.int8), (0, 255, 131, np.uint8), (-2048, 2047, -9, np.int16)],
)
def test_quantize_any_number_of_lanes(
    order: int, inner: int, low: int, high: int, zero: int, dtype: type
) -> None:
    """Whole blocks of lanes and what is left of them; carriers of 24 bits."""
    signs = make_signs(order, True)
    x = np.random.default_rng(inner).integers(-(2**23), 2**23, (2, 2 * len(signs), inner)).astype(np.int32)
    x.flat[0], x.flat[-1] = -(2**23), 2**23 - 1
    shift = 14 + 23 + order // 2 - high.bit_length()
    codes, saturated = quantize(x, signs, (20000, shift), (low, high), zero, dtype)
    values = np.floor_divide(dense(x, signs) * 20000 + 2 ** (shift - 1), 2**shift) + zero
    assert np.array_equal(codes, values.clip(low, high))
    assert saturated == np.count_nonzero(codes != values) > 0


@pytest.mark.parametrize("inner", [1, 70, 700])
@pytest.mark.parametrize("threads", [1, 2, 3, 7, 64])
def test_threads_share_all_rows_and_lanes(inner: int, threads: int) -> None:
    """More threads than there is work, too."""
    signs, (low, high) = make_signs(3, True), (-2048, 2047)
    x = np.random.default_rng(threads).integers(-500, 500, (5, 16, inner)).astype(np.int16)
    codes = np.full(x.shape, 99, np.int16)
    quantize_parts = quantize_rows if inner == 1 else quantize_lanes
    saturated = quantize_parts(x, signs, np.array([3, 1, 5]), low, high, threads, codes)
    values = np.floor_divide(dense(x, signs) * 3 + 1, 2) + 5
    assert np.array_equal(codes, values.clip(low, high))
    assert saturated == np.count_nonzero(codes != values) > 0
    operand, scratch = np.full(x.shape, 99, np.int16), np.empty(0, np.int32)
    arguments = (x, signs, np.int64(4), False, scratch, threads, operand)
    if inner == 1:
        invert_rows(*arguments)
    else:
        invert_lanes(*arguments, np.empty((0, 0, 0), np.uint8))
    assert np.array_equal(operand, dense(x - 4, signs, inverse=True))


@pytest.mark.parametrize("order", [0, 2, 6])
@pytest.mark.parametrize("layout", [(1, 1, 1), (3, 1, 1), (5, 3, 1), (2, 1, 5), (1, 2, 63), (3, 1, 65)])
def test_nothing_else_is_touched(order: int, layout: tuple[int, int, int]) -> None:
    """Before and behind the arrays; whole vectors, and what is left of them."""
    outer, blocks, inner = layout
    n = 2**order
    shape, tail = (outer, n * blocks, inner), 2 * blocks if inner == 1 else 0
    longer = outer, n * blocks + tail, inner
    x = np.random.default_rng(0).integers(-8, 8, shape)
    whole, target = room(shape, np.int8)
    quantize_transformed(x.astype(np.int16), np.ones(n, np.int64), np.array([1, 0, 0]), -128, 127, target)
    assert (np.delete(whole, np.s_[100 : 100 + target.size]) == 99).all()
    whole, target = room(longer if order else shape, np.int16)
    sides, parity = room((outer, blocks, inner), np.uint8)
    invert_transform(x.astype(np.int8), np.ones(n, np.int64), np.int64(0), order > 0, target, parity)
    assert (np.delete(whole, np.s_[100 : 100 + target.size]) == 99).all()
    assert (np.delete(sides, np.s_[100 : 100 + parity.size]) == 99).all()


@pytest.mark.parametrize(("shift", "expected"), [(0, [-10, -6, 6, 10]), (2, [-2, -1, 2, 3])])
def test_halves_go_up(shift: int, expected: list[int]) -> None:
    """-10 / 4 = -2.5 gives -2, -6 / 4 = -1.5 gives -1."""
    x = np.array([-5, -3, 3, 5], np.int16).reshape(1, 4, 1)
    codes, _ = quantize(x, np.ones(1, np.int64), (2, shift), I16, 0, np.int16)
    assert codes.ravel().tolist() == expected


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("with_signs", [False, True])
@pytest.mark.parametrize("zero", [0, 9])
def test_inverse(order: int, layout: tuple[int, int, int], with_signs: bool, zero: int) -> None:
    outer, blocks, inner = layout
    signs = make_signs(order, with_signs)
    codes = np.random.default_rng(0).integers(-8, 8, (outer, len(signs) * blocks, inner)).astype(np.int8)
    centred = codes.astype(np.int64) - zero
    expected = naive.transform(centred, signs.tolist(), inverse=True).astype(np.int64)
    assert np.array_equal(invert(codes, signs, zero), expected)


@pytest.mark.parametrize("order", range(7))
@pytest.mark.parametrize("inner", INNER)
@pytest.mark.parametrize(
    ("dtype", "zero"), [(np.int8, 0), (np.int8, 100), (np.uint8, 0), (np.uint8, 200), (np.int16, -77)]
)
def test_invert_any_number_of_lanes(order: int, inner: int, dtype: type, zero: int) -> None:
    """Codes of 8 bits in scratch of 16, of 16 bits in 32; both ends of the type among them."""
    signs, limits = make_signs(order, True), np.iinfo(dtype)
    reach = (limits.min, limits.max) if limits.bits == 8 else (-300, 300)
    codes = np.random.default_rng(inner).integers(*reach, (2, 2 * len(signs), inner), endpoint=True)
    codes.flat[0], codes.flat[-1] = reach
    expected = dense(codes - zero, signs, inverse=True)
    assert np.array_equal(invert(codes.astype(dtype), signs, zero), expected)
    if order:
        operand, parity = invert_halved(codes.astype(dtype), signs, zero, np.int16)
        assert set(np.unique(parity)) <= {0, 1}
        assert np.array_equal(2 * operand.astype(np.int64) + np.repeat(parity, len(signs), axis=1), expected)


@pytest.mark.parametrize("narrow", [False, True])
@pytest.mark.parametrize("inner", [1, 5, 70])
@pytest.mark.parametrize("order", range(7))
def test_every_bit_of_the_scratch_is_needed(order: int, inner: int, narrow: bool) -> None:
    """Element 0 of a block of smallest codes is -2**15; other extremes are as large as 16 bits allow."""
    n = 2**order
    signs, rows = make_signs(order, True), np.array(naive.hadamard(n))
    low = -(2**15) // n
    blocks = np.concatenate([np.full((1, n), low), np.where(rows > 0, -low - 1, low + 1)])
    codes = np.repeat(blocks.reshape(1, -1, 1), inner, axis=2).astype(np.int16)
    expected = dense(codes, signs, inverse=True)
    assert expected.min() == -(2**15)
    assert expected.max() < 2**15
    assert np.array_equal(invert(codes, signs, narrow=narrow), expected)
    if order:
        operand, parity = invert_halved(codes, signs, 0, np.int16, narrow)
        assert np.array_equal(2 * operand.astype(np.int64) + np.repeat(parity, n, axis=1), expected)


@pytest.mark.parametrize("inner", [1, 5])
@pytest.mark.parametrize(
    ("code", "zero", "dtype"), [(-128, 127, np.int8), (255, 0, np.uint8), (0, 255, np.uint8)]
)
def test_codes_of_8_bits_fit_by_themselves(inner: int, code: int, zero: int, dtype: type) -> None:
    """The largest order, codes and zero-point at opposite ends: 255 * 64 in 16 bits."""
    codes = np.full((1, 64, inner), code, dtype)
    reached = invert(codes, np.ones(64, np.int64), zero)
    assert (reached[0, 0] == 64 * (code - zero)).all()
    assert (reached[0, 1:] == 0).all()


@pytest.mark.parametrize("order", [1, 2, 5])
@pytest.mark.parametrize("layout", [*LAYOUTS, *LONG])
def test_a_halved_inverse_and_its_parity(order: int, layout: tuple[int, int, int]) -> None:
    """All values of a block share their parity, so ``2 * operand + parity`` is the inverse."""
    outer, blocks, inner = layout
    signs = make_signs(order, True)
    n = len(signs)
    codes = np.random.default_rng(0).integers(-8, 8, (outer, n * blocks, inner)).astype(np.int8)
    operand, parity = invert_halved(codes, signs, 0, np.int8)
    assert set(np.unique(parity)) <= {0, 1}
    whole = 2 * operand.astype(np.int64) + np.repeat(parity, n, axis=1)
    assert np.array_equal(whole, naive.transform(codes, signs.tolist(), inverse=True).astype(np.int64))


@pytest.mark.parametrize("layout", [(3, 2, 1), *LONG])
def test_the_inverse_may_overwrite_its_codes(layout: tuple[int, int, int]) -> None:
    outer, blocks, inner = layout
    signs = make_signs(3, True)
    codes = np.random.default_rng(0).integers(-8, 8, (outer, 8 * blocks, inner)).astype(np.int16)
    expected = naive.transform(codes, signs.tolist(), inverse=True).astype(np.int64)
    invert_transform(codes, signs, np.int64(0), False, codes, np.empty((0, 0, 0), np.uint8))
    assert np.array_equal(codes, expected)


@pytest.mark.parametrize(("code", "dtype"), [(-32768, np.int16), (32767, np.int16), (65535, np.int32)])
def test_extreme_carriers_pile_up_without_a_wrap(code: int, dtype: type[np.integer]) -> None:
    """Element 0 is the sum of the block, 22 bits; a quarter of the code is left of it."""
    n = 64
    x = np.full((1, n, 1), code, dtype)
    codes, saturated = quantize(x, np.ones(n, np.int64), (16384, 22), I16, dtype=np.int16)
    assert codes[0, :, 0].tolist() == [naive.shifted(n * code * 16384, 22)] + [0] * (n - 1)
    assert saturated == 0


@pytest.mark.parametrize(
    ("low", "high", "dtype"), [(-8, 7, np.int8), (-128, 127, np.int8), (0, 255, np.int16)]
)
def test_the_inverse_reaches_the_range_of_the_operand(
    low: int, high: int, dtype: type[np.signedinteger]
) -> None:
    """Rows of the matrix decide, per element, which extreme code makes it largest and smallest."""
    n = 32
    rows = np.array(naive.hadamard(n))
    codes = np.concatenate([np.where(rows > 0, high, low), np.where(rows > 0, low, high)]).astype(dtype)
    reached = invert(codes[:, :, None], np.ones(n, np.int64))[:, :, 0].astype(int)
    assert np.array_equal(reached, codes.astype(int) @ rows)
    half = n // 2
    assert reached.max() == max(n * high, half * (high - low))
    assert reached.min() == min(n * low, half * (low - high))


@pytest.mark.parametrize("inner", [1, 70])
@pytest.mark.parametrize("dtype", [np.int8, np.int32])
def test_signs_of_any_type(inner: int, dtype: type[np.signedinteger]) -> None:
    signs = make_signs(3, True)
    x = np.random.default_rng(5).integers(-8, 8, (3, 16, inner)).astype(np.int8)
    codes, _ = quantize(x.astype(np.int16), signs.astype(dtype), (1, 0), I16, 0, np.int16)
    assert np.array_equal(codes, dense(x, signs))
    assert np.array_equal(invert(x, signs.astype(dtype)), dense(x, signs, inverse=True))


def test_forward_and_inverse_give_n_times_the_input() -> None:
    signs = make_signs(4, True)
    x = np.random.default_rng(3).integers(-8, 8, (2, 32, 3)).astype(np.int16)
    spread, saturated = quantize(x, signs, (16384, 14), I16, dtype=np.int16)
    assert saturated == 0
    assert np.array_equal(invert(spread, signs), 16 * x)
