"""Fused products: how operands enter the multiplier, and the same codes as dense float64 whichever way."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from hqsim.kernels.tile import EIGHT, HAS_VNNI, PORTABLE, SIXTEEN
from hqsim.numerics import Format, Transform
from hqsim.ops.fused import layer_sums, multiply_pair, pack_segment, pair_sums
from hqsim.ops.layer_layout import Window
from tests.ops.builders import carrier
from tests.ops.fused_cases import (
    SHAPES,
    Layer,
    Shape,
    dense_sums,
    digest,
    make_rescale,
    random_codes,
)

ROOT = Path(__file__).parents[2]
NEEDS_VNNI = pytest.mark.skipif(not HAS_VNNI, reason="this CPU has no AVX-512 VNNI")
PROCESSORS = [pytest.param("", id="fastest"), "portable"]
TRANSFORMS = [
    None,
    Transform("width", 3, False),
    Transform("width", 5, True),
    Transform("channel", 3, True),
    Transform("channel", 5, False),
    Transform("channel", 5, True),
]
SOURCES = [(4, True, 0), (8, True, 0), (4, False, 0), (4, False, 9), (8, False, 0), (8, False, 200)]
"""Bits, signedness, zero-point of an operand."""


@pytest.fixture(params=PROCESSORS)
def processor(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The fastest kernels of this CPU, then those that every CPU has."""
    monkeypatch.setenv("HQSIM_KERNELS", request.param)
    return request.param


@pytest.mark.parametrize("shape", SHAPES, ids=["3x3", "stride2", "1x1"])
@pytest.mark.parametrize("transform", TRANSFORMS, ids=str)
@pytest.mark.parametrize(("bits", "signed", "zero_point"), SOURCES)
@pytest.mark.parametrize("weight_bits", [4, 8])
def test_a_layer(processor, shape, transform, bits, signed, zero_point, weight_bits) -> None:
    source = Format(bits=bits, scales=(1.0,), signed=signed)
    layer = Layer(shape, transform, source, zero_point, weight_bits)
    output = carrier(1.0, 12)
    sums = layer.sums()
    expected, saturated = layer.finish(sums, output)
    done = layer.run(output)
    assert np.array_equal(done.codes, expected)
    assert done.codes.dtype == output.dtype
    assert (done.saturated, done.lowest, done.highest) == (saturated, sums.min(), sums.max())


@pytest.mark.parametrize("axis", ["width", "channel"])
@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_halved_windows_of_every_kind(axis: str, kernel: int, stride: int) -> None:
    """Windows that lie in a block, across two, across the padding: along the width their columns differ."""
    shape = Shape(2, 32, 6, 96, 4, kernel, stride, (1, 2, 0, 1))
    layer = Layer(shape, Transform(axis, 5, True), Format(bits=4, scales=(1.0,)), 0, 4)
    sums = layer.sums()
    done = layer.run(carrier(1.0))
    assert np.array_equal(done.codes, layer.finish(sums, carrier(1.0))[0])
    assert (done.lowest, done.highest) == (sums.min(), sums.max())


@pytest.mark.parametrize("fill", ["low", "high"])
@pytest.mark.parametrize("transform", [None, Transform("width", 5, False), Transform("channel", 5, False)])
@pytest.mark.parametrize(("bits", "signed"), [(4, True), (8, True), (8, False)])
def test_extreme_codes_and_weights(processor, fill: str, transform, bits: int, signed: bool) -> None:
    """Codes all at one end pile up in the first element of a block, beside weights all at one end."""
    source = Format(bits=bits, scales=(1.0,), signed=signed)
    layer = Layer(SHAPES[0], transform, source, 0, 8)
    layer.codes[:] = getattr(source, fill)
    layer.weight[:] = -127
    sums = layer.sums()
    codes, saturated = layer.finish(sums, carrier(1.0))
    done = layer.run(carrier(1.0))
    assert np.array_equal(done.codes, codes)
    assert (done.saturated, done.lowest, done.highest) == (saturated, sums.min(), sums.max())


@NEEDS_VNNI
@pytest.mark.parametrize(
    ("transform", "low", "high", "eight", "halved"),
    [
        # Codes themselves: any 8 bits, wherever their zero-point is.
        (None, -128, 127, True, False),
        (None, 0, 255, True, False),
        (None, -200, 55, True, False),
        (None, -129, 127, False, False),
        # After the butterflies: W4A4 of order 3 and 5, 8 bits of order 3.
        (Transform("channel", 3, True), -64, 60, True, False),
        (Transform("width", 5, False), -256, 240, True, True),
        (Transform("channel", 5, False), -256, 240, True, True),
        (Transform("channel", 5, False), -256, 255, True, True),
        (Transform("channel", 5, False), -256, 256, False, False),
        (Transform("channel", 5, False), 0, 200, True, True),
        (Transform("width", 3, False), -1024, 1016, False, False),
    ],
)
def test_how_an_operand_enters(monkeypatch, transform, low, high, eight, halved) -> None:
    monkeypatch.delenv("HQSIM_KERNELS", raising=False)
    weight = np.full((3, 32, 1, 1), 7)
    packed = Layer(SHAPES[0], transform, Format(bits=4, scales=(1.0,)), 0, 4)
    packed.weight, packed.range = weight, (low, high)
    found = packed.pack()
    assert (found.eight, found.halved) == (eight, halved)
    assert found.panels.form == (EIGHT if eight else SIXTEEN)


@NEEDS_VNNI
@pytest.mark.parametrize(("weight", "eight"), [(-128, True), (127, True), (128, False), (-129, False)])
def test_folded_weights_beyond_8_bits_take_16(monkeypatch, weight: int, eight: bool) -> None:
    monkeypatch.delenv("HQSIM_KERNELS", raising=False)
    layer = Layer(SHAPES[0], None, Format(bits=4, scales=(1.0,)), 0, 4)
    layer.weight[0, 0, 0, 0] = weight
    assert layer.pack().eight == eight


@NEEDS_VNNI
def test_parity_bits_meet_the_weights_of_their_blocks(monkeypatch) -> None:
    """Rows meet twice the weights; ``[a', p, p]`` along channels also the sum of a block in two halves."""
    monkeypatch.delenv("HQSIM_KERNELS", raising=False)
    source = Format(bits=4, scales=(1.0,))
    along_channels = Layer(SHAPES[1], Transform("channel", 5, False), source, 0, 4)
    along_width = Layer(SHAPES[1], Transform("width", 5, False), source, 0, 4)
    sums = along_width.weight.sum(axis=(1, 2, 3))
    assert along_channels.pack().halved
    assert np.array_equal(along_channels.pack().panels.sums[0], 3 * along_channels.weight.sum(axis=(1, 2, 3)))
    assert along_width.pack().halved
    assert np.array_equal(along_width.pack().panels.sums[0], 2 * sums)


@NEEDS_VNNI
@pytest.mark.parametrize("axis", ["width", "channel"])
@pytest.mark.parametrize(("weight", "halved"), [(-64, True), (63, True), (64, False), (-65, False)])
def test_weights_that_are_doubled_must_fit_8_bits(monkeypatch, axis: str, weight: int, halved: bool) -> None:
    monkeypatch.delenv("HQSIM_KERNELS", raising=False)
    layer = Layer(SHAPES[0], Transform(axis, 5, False), Format(bits=4, scales=(1.0,)), 0, 4)
    layer.weight[:] = 0
    layer.weight[0, 0, 0, 0] = weight
    found = layer.pack()
    assert (found.eight, found.halved) == (halved, halved)
    sums = layer.sums()
    done = layer.run(carrier(1.0))
    assert np.array_equal(done.codes, layer.finish(sums, carrier(1.0))[0])
    assert (done.lowest, done.highest) == (sums.min(), sums.max())


def test_on_request_every_operand_enters_with_16_bits(monkeypatch) -> None:
    monkeypatch.setenv("HQSIM_KERNELS", "portable")
    for transform in TRANSFORMS:
        packed = Layer(SHAPES[0], transform, Format(bits=4, scales=(1.0,)), 0, 4).pack()
        assert (packed.eight, packed.halved, packed.panels.form) == (False, False, PORTABLE)


PAIRS = [
    # Range and zero-point of either side, as codes.
    ((-8, 7, 0), (-8, 7, 0)),
    ((-128, 127, 0), (-128, 127, 0)),
    ((0, 255, 0), (-128, 127, 0)),
    ((0, 255, 130), (0, 255, 120)),
    ((0, 255, 255), (0, 15, 8)),
    ((-32768, 32767, 0), (-128, 127, 0)),
    ((-128, 127, 0), (-32768, 32767, 0)),
]


@pytest.mark.parametrize(("left", "right"), PAIRS)
@pytest.mark.parametrize(("count", "m", "n", "k"), [(1, 1, 1, 1), (3, 5, 7, 9), (2, 13, 40, 64)])
def test_a_pair(processor, left, right, count: int, m: int, n: int, k: int) -> None:
    rng = np.random.default_rng(k)
    a = random_codes(rng, *left[:2], (count, m, k))
    b = random_codes(rng, *right[:2], (count, n, k))
    zero_points = np.array([left[2], right[2]])
    ranges = np.array([[low - zero, high - zero] for low, high, zero in (left, right)])
    sums = np.einsum("gmk,gnk->gmn", a - zero_points[0], b - zero_points[1])
    shift = 15 + int(np.abs(ranges).max(axis=1).prod()).bit_length() - 8
    rescale = make_rescale(np.full(n, 20000), np.full(n, shift), np.zeros(n, np.int64))
    types = [np.int8 if low < 0 and high < 128 else np.int16 for low, high, _ in (left, right)]
    output = carrier(1.0, 8)
    done = multiply_pair(a.astype(types[0]), b.astype(types[1]), ranges, zero_points, rescale, output)
    values = np.floor_divide(sums * 20000 + 2 ** (shift - 1), 2**shift)
    expected = values.clip(-128, 127)
    assert np.array_equal(done.codes.reshape(sums.shape), expected)
    assert done.saturated == np.count_nonzero(values != expected)
    assert (done.lowest, done.highest) == (sums.min(), sums.max())


@pytest.mark.parametrize("bits", [(4, 8), (8, 8), (8, 16), (16, 8), (16, 16)])
@pytest.mark.parametrize("fill", ["random", "low", "high"])
def test_sums_of_a_pair(processor, bits: tuple[int, int], fill: str) -> None:
    """16 by 16 bits, lowest codes included: 2**30 a product, past 32 bits after two."""
    ends = [(-(2 ** (width - 1)), 2 ** (width - 1) - 1) for width in bits]
    rng = np.random.default_rng(0)
    sides = [
        random_codes(rng, low, high, (2, rows, 70)) for (low, high), rows in zip(ends, (5, 7), strict=True)
    ]
    if fill != "random":
        for side, limits in zip(sides, ends, strict=True):
            side[:] = limits[fill == "high"]
    sums = pair_sums(*(side.astype(np.int16) for side in sides), np.array(ends))
    assert np.array_equal(sums, np.einsum("gmk,gnk->gmn", *sides))


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("reach", [2**8, 2**15])
@pytest.mark.parametrize("weight_reach", [7, 127, 2**12])
def test_sums_of_a_grouped_layer(processor, groups: int, reach: int, weight_reach: int) -> None:
    shape = Shape(2, 8, 5, 6, 12, 3, 2, (1, 0, 1, 1))
    rng = np.random.default_rng(groups)
    operand = random_codes(rng, -reach, reach - 1, (2, 8, 5, 6))
    weight = random_codes(rng, -weight_reach, weight_reach, (12, 8 // groups, 3, 3))
    images = operand.transpose(0, 2, 3, 1).astype(np.int16)
    sums = layer_sums(pack_segment(weight, groups), images, shape.window, reach)
    assert np.array_equal(sums, dense_sums(operand, weight, shape, groups))


def test_sums_of_a_layer_beyond_32_bits(processor) -> None:
    """Every product is 2**27; 64 of them make 2**33."""
    images = np.full((1, 1, 1, 64), -(2**15), np.int16)
    panels = pack_segment(np.full((3, 64, 1, 1), -(2**12)))
    sums = layer_sums(panels, images, Window((1, 1), 1, (0, 0), (1, 1)), 2**15)
    assert sums.ravel().tolist() == [2**33] * 3


def digest_elsewhere(tmp_path: Path, **variables: str) -> str:
    """The digest as a fresh process computes it that has no other form than the portable one."""
    environment = {**os.environ, "NUMBA_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), **variables}
    program = (
        "from hqsim.kernels.tile import fastest_form\n"
        "from tests.ops.fused_cases import digest\n"
        "print(fastest_form(eight_bits=True), digest())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    form, found = done.stdout.split()
    assert int(form) == PORTABLE
    return found


@NEEDS_VNNI
def test_a_process_without_vnni_gives_the_same_bytes(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.delenv("HQSIM_KERNELS", raising=False)
    assert digest_elsewhere(tmp_path, HQSIM_KERNELS="portable") == digest()


@pytest.mark.slow
@NEEDS_VNNI
@pytest.mark.parametrize(("name", "features"), [("haswell", "+avx2,+fma,+avx,+sse4.2"), ("x86-64", "+sse2")])
def test_code_for_an_older_cpu_gives_the_same_bytes(
    tmp_path: Path, monkeypatch, name: str, features: str
) -> None:
    """Kernels compiled for a CPU with AVX2, and for one with neither."""
    monkeypatch.delenv("HQSIM_KERNELS", raising=False)
    cpu = {"NUMBA_CPU_NAME": name, "NUMBA_CPU_FEATURES": features}
    assert digest_elsewhere(tmp_path, HQSIM_CACHE_DIR=str(tmp_path), **cpu) == digest()
