"""Every kind of unit against hand calculation, naive loops, and what must hold for all of them."""

import itertools
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hqsim.cost.geometry import BitComposable, DotProduct, RowStationary, Systolic, TensorCore
from hqsim.cost.units import run_unit
from hqsim.cost.widths import MultiplierMode, multiplier_mode
from hqsim.errors import InputError
from tests.cost.work import convolution, product, unit

MODE = MultiplierMode(a_bits=8, w_bits=8)


def run(geometry, work, mode=MODE, **options):
    return run_unit(unit(geometry), work, mode, **options)


@pytest.mark.parametrize(
    ("geometry", "cells"),
    [
        (Systolic(rows=3, cols=5, arrays=2), 30),
        (RowStationary(rows=12, cols=14, ifmap_words=12, filter_words=224, sum_words=24), 168),
        (BitComposable(rows=16, cols=32), 512),
        (DotProduct(m=2, n=4, k=8, units=3), 192),
        (
            TensorCore(units=108, macs_per_cycle=1024, tile_m=128, tile_n=256, tile_k=32, macs_per_word=43.2),
            110592,
        ),
    ],
)
def test_peak_of_every_geometry(geometry, cells):
    assert geometry.cells == cells
    assert unit(geometry).cells == cells


def test_bit_composable_by_hand():
    """3 x 3, 40 channels to 70 filters, 2 images of 10 x 10: 3 x (9 * 3) folds of 200 pixels."""
    work = convolution(40, 70, 12, 3, batch=2)
    geometry = BitComposable(rows=16, cols=32)
    assert run(geometry, work).cycles == 200 * 3 * 9 * 3
    # 4 x 4 bits: 64 channels at once, so one fold per tap.
    assert run(geometry, work, MultiplierMode(a_bits=4, w_bits=4, rate=4)).cycles == 200 * 3 * 9
    found = run(geometry, work)
    assert (found.a_reads, found.w_reads) == (200 * 360 * 3, 360 * 70)
    assert found.sum_writes == found.sum_reads == 200 * 70 * 27
    assert (found.first_a_words, found.first_w_words) == (0, 16 * 32)
    # A linear layer and a 1 x 1 convolution are the same.
    assert run(geometry, product(7, 33, 65)).cycles == run(geometry, convolution(65, 33, 7, 1)).cycles / 7
    assert run(geometry, product(7, 33, 65)).cycles == 7 * 2 * 5


def test_dot_product_by_hand():
    """[10, 20] x [20, 6] on two engines of 4 x 4 sums and 8 products: 3 * 2 blocks of 3 steps."""
    found = run(DotProduct(m=4, n=4, k=8, units=2), product(10, 6, 20))
    assert (found.folds, found.cycles) == (6, 9)
    assert (found.a_reads, found.w_reads, found.sum_writes) == (10 * 20 * 2, 6 * 20 * 3, 60)
    assert (found.first_a_words, found.first_w_words) == (32, 32)
    twice = MultiplierMode(a_bits=4, w_bits=4, rate=2.0)
    assert run(DotProduct(m=4, n=4, k=8, units=2), product(10, 6, 20), twice).cycles == 6
    half = MultiplierMode(a_bits=8, w_bits=8, rate=0.5)
    assert run(DotProduct(m=4, n=4, k=8, units=2), product(10, 6, 20), half).cycles == 18
    # One block is not shared between engines.
    assert run(DotProduct(m=4, n=4, k=8, units=2), product(4, 4, 20)).cycles == 3


def naive_waves(m, n, k, count, geometry, rate):
    """Deal tiles of every shape to the multiprocessors in rounds; the fewest cycles."""
    longest = max(geometry.tile_m, geometry.tile_n)
    sides = [side for side in (64, 128, 256) if side <= longest]
    best = []
    for tile_m, tile_n in itertools.product(sides, sides):
        if tile_m * tile_n > geometry.tile_m * geometry.tile_n:
            continue
        tiles = [(i, j, b) for b in range(count) for i in range(0, m, tile_m) for j in range(0, n, tile_n)]
        rounds = len(range(0, len(tiles), geometry.units))
        steps = len(range(0, k, geometry.tile_k)) + 1
        fetched = (tile_m + tile_n) * geometry.tile_k
        multiply = tile_m * tile_n * geometry.tile_k / (geometry.macs_per_cycle * rate)
        # A100: 5120 bytes per cycle for 108 multiprocessors; words of 16 bits at 1024 MACs per cycle.
        fetch = fetched * 2 / (5120 / 108 * geometry.macs_per_cycle * rate / 1024)
        best.append(ceil(rounds * steps * max(multiply, fetch) - 1e-9))
    return min(best)


@pytest.mark.parametrize(
    ("m", "n", "k", "count"), [(8192, 64, 64, 1), (300, 700, 100, 1), (128, 128, 32, 7), (64, 4096, 64, 3)]
)
def test_tensor_core_waves(m, n, k, count):
    geometry = TensorCore(units=8, macs_per_cycle=1024, tile_m=128, tile_n=256, tile_k=32, macs_per_word=43.2)
    for rate in (1.0, 2.0):
        found = run(geometry, product(m, n, k, count=count), MultiplierMode(a_bits=8, w_bits=8, rate=rate))
        assert found.cycles == naive_waves(m, n, k, count, geometry, rate)


def test_tensor_core_prefers_the_tile_that_reads_least():
    """One wave with any tile of 128 x 256, so the widest reuse wins: A is read once per 256 columns."""
    geometry = TensorCore(units=4, macs_per_cycle=1024, tile_m=128, tile_n=256, tile_k=32, macs_per_word=43.2)
    found = run(geometry, product(256, 512, 64))
    assert found.folds == 4
    assert found.cycles == 3 * 32 * 128 * 256 / 1024
    assert found.a_reads + found.w_reads == 256 * 64 * 2 + 512 * 64 * 2


def test_systolic_rate_shortens_the_common_axis():
    """Rate 2 on 4 x 2 cells is K = 4 at rate 1, with all words of K = 7."""
    geometry = Systolic(rows=4, cols=2, dataflow="ws")
    fast = run(geometry, product(6, 5, 7), MultiplierMode(a_bits=4, w_bits=4, rate=2.0))
    slow = run(geometry, product(6, 5, 4))
    assert (fast.cycles, fast.folds) == (slow.cycles, slow.folds) == (3 * (6 + 8 + 2 - 2), 3)
    assert (fast.a_reads, fast.w_reads) == (6 * 7 * 3, 5 * 7)
    assert fast.first_w_words == 7 * 2


def test_systolic_rate_below_one_slows_the_stream_alone():
    """Half speed: 12 + 4 + 4 + 2 - 2 cycles per fold, not 6 + 4 + 4 + 2 - 2; the same folds and words."""
    geometry = Systolic(rows=4, cols=2, dataflow="ws")
    slow = run(geometry, product(6, 5, 7), MultiplierMode(a_bits=16, w_bits=8, rate=0.5))
    full = run(geometry, product(6, 5, 7))
    assert (slow.cycles, full.cycles) == (6 * 20, 6 * 14)
    assert (slow.folds, slow.a_reads, slow.sum_writes) == (full.folds, full.a_reads, full.sum_writes)


def test_dataflow_is_forced_on_systolic_units_alone():
    geometry = Systolic(rows=4, cols=4, dataflow="ws")
    labels = {flow: run(geometry, product(100, 4, 4), dataflow=flow).label for flow in ("os", "ws", "is")}
    assert labels == {"os": "os", "ws": "ws", "is": "is"}
    assert run(geometry, product(100, 4, 4)).label == "ws"
    with pytest.raises(InputError, match=r"dataflow must be one of os, ws, is, got 'rs'"):
        run(geometry, product(1, 1, 1), dataflow="rs")
    with pytest.raises(InputError, match=r"'unit' is no systolic array and has no dataflow 'os'"):
        run(DotProduct(m=1, n=1, k=1), product(1, 1, 1), dataflow="os")


sides = st.integers(1, 20)
geometries = st.one_of(
    st.builds(
        Systolic,
        rows=sides,
        cols=sides,
        arrays=st.integers(1, 3),
        dataflow=st.sampled_from(["os", "ws", "is", "best"]),
    ),
    st.builds(
        RowStationary,
        rows=st.integers(3, 14),
        cols=sides,
        ifmap_words=st.integers(3, 16),
        filter_words=st.integers(3, 300),
        sum_words=sides,
    ),
    st.builds(BitComposable, rows=sides, cols=sides),
    st.builds(DotProduct, m=sides, n=sides, k=sides, units=st.integers(1, 4)),
    st.builds(
        TensorCore,
        units=sides,
        macs_per_cycle=st.integers(1, 2048),
        tile_m=st.sampled_from([16, 64, 128]),
        tile_n=st.sampled_from([16, 128, 256]),
        tile_k=st.sampled_from([8, 32]),
    ),
)
works = st.one_of(
    st.builds(product, st.integers(1, 90), st.integers(1, 90), st.integers(1, 90), count=st.integers(1, 3)),
    st.builds(
        lambda channels, filters, size, kernel, stride, groups, batch: convolution(
            channels * groups,
            filters * groups,
            size,
            kernel,
            stride=stride,
            padding=1,
            groups=groups,
            batch=batch,
        ),
        st.integers(1, 20),
        st.integers(1, 20),
        st.integers(3, 12),
        st.integers(1, 3),
        st.integers(1, 2),
        st.integers(1, 3),
        st.integers(1, 3),
    ),
)


@given(geometries, works, st.sampled_from([(8, 8, 1.0), (4, 4, 2.0), (8, 8, 0.3)]))
def test_no_unit_beats_its_peak_or_reads_less_than_its_operands(geometry, work, native):
    machine = unit(geometry, native)
    mode = multiplier_mode(machine, a_bits=4, w_bits=4, layer="x")
    found = run_unit(machine, work, mode)
    assert found.cycles * geometry.cells * mode.rate >= work.macs * (1 - 1e-12)
    assert found.utilization == pytest.approx(work.macs / (found.cycles * geometry.cells * mode.rate))
    assert 0 < found.mapping_efficiency <= 1
    assert found.folds >= 1
    assert found.w_reads >= work.n * work.k * work.count
    assert found.sum_writes >= work.m * work.n * work.count
    assert found.sum_reads >= work.m * work.n * work.count
    if work.conv is None:
        assert found.a_reads >= work.m * work.k * work.count
    assert 0 <= found.first_a_words <= found.a_reads
    assert 0 <= found.first_w_words <= found.w_reads
