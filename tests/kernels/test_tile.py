"""The tile: every form gives the same sums modulo 2**32, in its own place, on random and extreme bytes."""

from __future__ import annotations

import numba
import numpy as np
import pytest

from hqsim.kernels import tile
from hqsim.kernels.tile import COLUMNS, EIGHT, PORTABLE, ROW_BYTES, ROWS, SIXTEEN, STEP_BYTES, add_tile
from tests.kernels.products import FORMS, NEEDS_VNNI


def naive_tile(form: int, rows: np.ndarray, panel: np.ndarray) -> np.ndarray:
    """``rows`` uint8 ``[r, 4 * steps]`` times ``panel`` uint8: sums int64 ``[r, 32]``, by the layout."""
    kinds, lanes = ((np.uint8, np.int8), 4) if form == EIGHT else ((np.int16, np.int16), 2)
    left = np.ascontiguousarray(rows).view(kinds[0]).astype(np.int64)
    right = panel.view(kinds[1]).astype(np.int64)
    sums = np.zeros((len(rows), COLUMNS), np.int64)
    for row in range(len(rows)):
        for k in range(left.shape[1]):
            step, place = divmod(k, lanes)
            start = step * COLUMNS * lanes + place
            sums[row] += left[row, k] * right[start : start + COLUMNS * lanes : lanes]
    return sums


def random_bytes(shape: tuple[int, ...], seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("steps", [1, 2, 7, 256])
@pytest.mark.parametrize("fresh", [False, True])
def test_a_tile_in_its_place(form: int, steps: int, fresh: bool) -> None:
    """It adds to 12 rows and 32 columns of a larger array, or writes them, and touches nothing else."""
    rows = random_bytes((3 * ROWS, ROW_BYTES), steps)
    panel = random_bytes(((steps + 3) * STEP_BYTES,), steps + 1)
    rng = np.random.default_rng(2)
    before = rng.integers(-(2**31), 2**31, (3 * ROWS, 3 * COLUMNS)).astype(np.int32)
    start = rng.integers(-(2**31), 2**31, 2 * COLUMNS).astype(np.int32)
    sums, first = before.copy(), 2 * STEP_BYTES
    add_tile(form, rows, ROWS, ROWS, panel, first, steps, fresh, start, sums, COLUMNS)
    expected = before.astype(np.int64)
    if fresh:
        expected[ROWS : 2 * ROWS, COLUMNS : 2 * COLUMNS] = start[COLUMNS:]
    expected[ROWS : 2 * ROWS, COLUMNS : 2 * COLUMNS] += naive_tile(
        form, rows[ROWS : 2 * ROWS, : 4 * steps], panel[first : first + steps * STEP_BYTES]
    )
    assert np.array_equal(sums, expected.astype(np.int32))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("count", range(1, ROWS + 1))
def test_a_tile_of_fewer_rows(form: int, count: int) -> None:
    """The rows that count are right, and what lies behind the tile stays."""
    rows, panel = random_bytes((2 * ROWS, ROW_BYTES), count), random_bytes((7 * STEP_BYTES,), 5)
    start = np.arange(COLUMNS, dtype=np.int32)
    sums = np.full((2 * ROWS, COLUMNS), 99, np.int32)
    add_tile(form, rows, 0, count, panel, 0, 7, True, start, sums, 0)
    expected = start + naive_tile(form, rows[:count, :28], panel)
    assert np.array_equal(sums[:count], expected.astype(np.int32))
    assert (sums[ROWS:] == 99).all()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("row_byte", [0x00, 0x7F, 0x80, 0xFF])
@pytest.mark.parametrize("panel_byte", [0x7F, 0x80, 0xFF])
def test_extreme_bytes(form: int, row_byte: int, panel_byte: int) -> None:
    """255 * -128 four times a lane; -32640 * -32640 and their neighbours two times."""
    rows = np.full((ROWS, ROW_BYTES), row_byte, np.uint8)
    panel = np.full(9 * STEP_BYTES, panel_byte, np.uint8)
    start, sums = np.zeros(COLUMNS, np.int32), np.full((ROWS, COLUMNS), 99, np.int32)
    add_tile(form, rows, 0, ROWS, panel, 0, 9, True, start, sums, 0)
    expected = naive_tile(form, rows[:, :36], panel)
    assert np.array_equal(sums, expected.astype(np.int32))
    add_tile(form, rows, 0, ROWS, panel, 0, 9, False, start, sums, 0)
    assert np.array_equal(sums, (2 * expected).astype(np.int32))


@pytest.mark.parametrize("form", [pytest.param(SIXTEEN, marks=NEEDS_VNNI), PORTABLE])
def test_the_largest_products_of_16_bits_wrap(form: int) -> None:
    """Two products of -32768 * -32768 make 2**31, which is -2**31 in 32 bits: no saturation."""
    rows = np.zeros((ROWS, ROW_BYTES), np.uint8)
    rows[:, 1::2] = 0x80
    panel = rows.reshape(-1)[:STEP_BYTES].copy()
    start, sums = np.zeros(COLUMNS, np.int32), np.zeros((ROWS, COLUMNS), np.int32)
    add_tile(form, rows, 0, ROWS, panel, 0, 1, False, start, sums, 0)
    assert (sums == -(2**31)).all()
    add_tile(form, rows, 0, ROWS, panel, 0, 1, False, start, sums, 0)
    assert (sums == 0).all()


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="without the compiler there is only the plain form")
def test_plain_vectors_equal_the_portable_form() -> None:
    """What a CPU without AVX2 would compile."""
    plain = tile._tile_intrinsic(tile._PlainStep())

    @numba.njit
    def add_plain(rows, row, count, panel, first, steps, fresh, start, sums, column):
        plain(rows, row, count, panel, first, steps, fresh, start, sums, column)

    start = np.arange(2 * COLUMNS, dtype=np.int32)
    for seed in range(3):
        rows, panel = random_bytes((2 * ROWS, ROW_BYTES), seed), random_bytes((9 * STEP_BYTES,), seed + 9)
        sums = np.zeros((2, 2 * ROWS, 2 * COLUMNS), np.int32)
        for fresh in (True, False):
            add_plain(rows, ROWS, ROWS, panel, STEP_BYTES, 8, fresh, start, sums[0], COLUMNS)
            add_tile(PORTABLE, rows, ROWS, ROWS, panel, STEP_BYTES, 8, fresh, start, sums[1], COLUMNS)
        assert np.array_equal(sums[0], sums[1])
        assert sums[0].any()


@NEEDS_VNNI
def test_the_fastest_form_follows_the_range(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tile, "HAS_VNNI", True)
    monkeypatch.delenv("HQSIM_KERNELS", raising=False)
    assert tile.fastest_form(eight_bits=True) == EIGHT
    assert tile.fastest_form(eight_bits=False) == SIXTEEN


@pytest.mark.parametrize("eight_bits", [False, True])
@pytest.mark.parametrize(("has_vnni", "asked"), [(False, ""), (True, "portable")])
def test_portable_without_vnni_or_on_request(
    monkeypatch: pytest.MonkeyPatch, has_vnni: bool, asked: str, eight_bits: bool
) -> None:
    monkeypatch.setattr(tile, "HAS_VNNI", has_vnni)
    monkeypatch.setenv("HQSIM_KERNELS", asked)
    assert tile.fastest_form(eight_bits=eight_bits) == PORTABLE


def test_a_named_cpu_has_the_features_that_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """What numba compiles for decides, not the machine."""
    monkeypatch.setattr(numba.config, "CPU_NAME", "haswell")
    monkeypatch.setattr(numba.config, "CPU_FEATURES", "+avx2,+fma")
    assert tile._target_has("avx2")
    assert not tile._target_has("avx512vnni")
