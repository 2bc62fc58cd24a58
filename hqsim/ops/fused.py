"""A whole product as kernel calls: operand codes in, output codes out, sums only inside a block.

For a layer of one segment whose sums provably fit 32 bits, and for attention products of that kind; every
other product takes its sums in steps (``ops/sums.py``). How the operand enters the multiplier is the kernels'
own choice, by range and CPU, and does not change a code:

    eight     8-bit rows; signed codes are shifted by 128, and 128 times the weights' sum is subtracted
    halved    a = 2 a' + p: a' fits 8 bits, p is one bit per block of the transform; along the channels the
              bits lengthen the rows, along the width they are a small product of their own
    sixteen   16-bit rows, for everything else and for CPUs without AVX-512 VNNI
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from hqsim.graph import Node
from hqsim.numerics import Format, Transform
from hqsim.ops.quantize import signs_of
from hqsim.ops.realisation import inverse_of

if TYPE_CHECKING:
    from hqsim.kernels.panels import Panels

SHIFT = 128
"""What makes signed 8-bit codes unsigned."""
_ZERO = np.int64(0)
_NO_HALVES = np.zeros((0, 0, 0), np.int32), np.zeros(1, np.int64)


@dataclass(frozen=True)
class Window:
    """Kernel size, stride, padding (top, left), output size of a convolution; 1 x 1 for a linear layer."""

    kernel: tuple[int, int]
    stride: int
    padding: tuple[int, int]
    output: tuple[int, int]


@dataclass(frozen=True)
class PackedLayer:
    """Weights of a layer as the kernels want them, and how its operand enters them.

    ``halved``: its operand is multiplied as ``2 a' + p``, 8 bits and a parity bit per block, by doubled
    weights.
    """

    panels: Panels
    eight: bool
    halved: bool = False


@dataclass(frozen=True)
class Finished:
    """Codes of a product, how many saturated, the range of its sums, events of a modelled accumulator."""

    codes: np.ndarray
    saturated: int
    lowest: int
    highest: int
    events: int = 0

    def reshaped(self, codes: np.ndarray) -> Finished:
        """Return the same with its codes in another shape."""
        return Finished(codes, self.saturated, self.lowest, self.highest, self.events)


class Rescale(NamedTuple):
    """Bias and rescale of the sums, per output.

    ``round_half_up((sum * factor + bias * 2**(shift - bias_bits)) / 2**shift)``; int32 factor, int64 bias and
    shift ``[outputs]``.
    """

    factor: np.ndarray
    bias: np.ndarray
    bias_bits: np.int64
    shift: np.ndarray


def pack_layer(node: Node, weight: np.ndarray, low: int, high: int) -> PackedLayer:
    """Pack integer weights ``[outputs, channels, kh, kw]`` for operands in [low, high]."""
    from hqsim.kernels.panels import pack_panels
    from hqsim.kernels.tile import EIGHT, fastest_form

    inverse, sixteen = inverse_of(node), fastest_form(eight_bits=False)
    fits = fastest_form(eight_bits=True) == EIGHT and _is_int8(int(weight.min()), int(weight.max()))
    plain = np.ascontiguousarray(weight.transpose(0, 2, 3, 1)).reshape(1, len(weight), -1, weight.shape[1])
    # Without an inverse the codes themselves are the rows: 8 bits, signed or unsigned.
    if fits and (high - low <= 255 if inverse is None else _is_int8(low, high)):
        return PackedLayer(pack_panels(plain, EIGHT), eight=True)
    if fits and inverse is not None and _is_int8(low >> 1, high >> 1):
        doubled = _doubled(plain, inverse)
        if (inverse.axis == "channel" or weight.shape[1] > 1) and _is_int8(doubled.min(), doubled.max()):
            return PackedLayer(pack_panels(doubled, EIGHT), eight=True, halved=True)
    return PackedLayer(pack_panels(plain, sixteen), eight=False)


def _doubled(taps: np.ndarray, inverse: Transform) -> np.ndarray:
    """Return what ``a'`` is multiplied by: twice the weights.

    Along the channels, where the rows are ``[a', p, p]``, each block's sum of weights follows in two halves.
    """
    taps = taps.astype(np.int64)
    if inverse.axis == "width":
        return 2 * taps
    sums = taps.reshape(*taps.shape[:3], -1, inverse.size).sum(axis=-1)
    return np.concatenate([2 * taps, sums // 2, sums - sums // 2], axis=-1)


def multiply_layer(
    node: Node,
    packed: PackedLayer,
    images: np.ndarray,
    window: Window,
    zero_point: int,
    rescale: Rescale,
    output: Format,
) -> Finished:
    """Return output codes ``[b, h, w, outputs]`` of operand codes ``images [b, h, w, c]``, channels last."""
    inverse = inverse_of(node)
    halves, half_of = _NO_HALVES
    if inverse is None:
        rows, flip, offset = _plain_rows(images, packed.eight, zero_point)
    else:
        rows, bits = _inverted_rows(images, inverse, packed, zero_point)
        flip = offset = SHIFT if packed.eight else 0
        if bits is not None:
            halves, half_of = _parity_sums(packed, bits, inverse.size, window)
    arguments = _arguments(rows, packed.panels, window, flip, offset)
    return _finish(arguments, halves, half_of, rescale, output, (1, images.shape[0]), window.output)


def multiply_pair(
    a: np.ndarray,
    b: np.ndarray,
    ranges: np.ndarray,
    zero_points: np.ndarray,
    rescale: Rescale,
    output: Format,
) -> Finished:
    """Return output codes ``[count, m, 1, n]`` of ``a [count, m, k]`` times the rows of ``b [count, n, k]``.

    ``ranges`` int64 ``[2, 2]`` bounds both operands less their zero-points.
    """
    from hqsim.kernels.panels import pack_activation
    from hqsim.kernels.tile import EIGHT, fastest_form

    (low, high), (b_low, b_high) = ranges.tolist()
    form = fastest_form(eight_bits=high - low <= 255 and _is_int8(b_low, b_high))
    eight = form == EIGHT
    b = b.astype(np.int16) - np.int16(zero_points[1]) if zero_points[1] else b
    panels = pack_activation(b, form, b_low, b_high)
    flip, offset = 0, int(zero_points[0])
    if eight and a.dtype == np.int8:
        flip, offset = SHIFT, SHIFT + offset
    elif not eight or a.dtype != np.uint8:
        a, flip, offset = _plain_rows(a, eight, offset)
    arguments = _pair_arguments(a, panels, flip, offset)
    return _finish(arguments, *_NO_HALVES, rescale, output, (len(a), 1), (a.shape[1], 1))


def pack_segment(weight: np.ndarray, groups: int = 1) -> Panels:
    """Pack integer weights ``[outputs, channels of a group, kh, kw]`` for :func:`layer_sums`."""
    from hqsim.kernels.panels import pack_panels
    from hqsim.kernels.tile import fastest_form

    outputs, channels = weight.shape[:2]
    taps = np.ascontiguousarray(weight.transpose(0, 2, 3, 1)).reshape(groups, outputs // groups, -1, channels)
    return pack_panels(taps, fastest_form(eight_bits=False))


def layer_sums(panels: Panels, operand: np.ndarray, window: Window, reach: int) -> np.ndarray:
    """Return exact sums int64 ``[b, h, w, groups * outputs]`` of an int16 operand ``[b, h, w, c]``.

    ``reach`` bounds the operand's magnitude.
    """
    from hqsim.kernels.product import multiply_sums

    assert reach * panels.largest < 1 << 29, "four products must fit 32 bits"
    images, groups = operand.shape[0], len(panels.sums)
    arguments = _arguments(np.ascontiguousarray(operand, np.int16), panels, window, 0, 0, groups)
    sums = np.empty((groups, images * window.output[0] * window.output[1], panels.outputs), np.int64)
    multiply_sums(*arguments, _piece_bytes(reach * panels.largest), sums)
    return np.moveaxis(sums, 0, 1).reshape(images, *window.output, -1)


def pair_sums(a: np.ndarray, b: np.ndarray, ranges: np.ndarray) -> np.ndarray:
    """Return exact sums int64 ``[count, m, n]`` of int16 ``a [count, m, k]`` and ``b [count, n, k]``."""
    from hqsim.kernels.panels import pack_activation
    from hqsim.kernels.product import multiply_sums
    from hqsim.kernels.tile import fastest_form

    reaches = [max(-low, high) for low, high in ranges.tolist()]
    if reaches[0] * reaches[1] >= 1 << 29:
        # Four products would not fit 32 bits: b = 256 h + l.
        upper, lower = ranges.copy(), ranges.copy()
        upper[1] >>= 8
        lower[1] = 0, 255
        return (pair_sums(a, b >> 8, upper) << 8) + pair_sums(a, b & 255, lower)
    panels = pack_activation(b, fastest_form(eight_bits=False), *ranges[1].tolist())
    sums = np.empty((*a.shape[:2], b.shape[1]), np.int64)
    multiply_sums(*_pair_arguments(a, panels, 0, 0), _piece_bytes(reaches[0] * reaches[1]), sums)
    return sums


def _pair_arguments(a: np.ndarray, panels: Panels, flip: int, offset: int) -> Any:
    """The common arguments of the product kernels for ``a [count, m, k]``, rows read where they lie."""
    from hqsim.kernels.jit import thread_count
    from hqsim.kernels.panels import in_place

    memory, (group, pitch, step) = in_place(a)
    if step != 1:
        memory, (group, pitch, _) = in_place(np.ascontiguousarray(a))
    layout, columns = _pair_layout(*a.shape[1:], group, pitch, a.itemsize, flip, offset)
    weights = (panels.form, panels.data, panels.storage, panels.sums)
    return memory.view(np.uint8), layout, columns, *weights, np.int64(offset), thread_count()


@lru_cache(maxsize=1024)
def _pair_layout(
    m: int, k: int, group: int, pitch: int, size: int, flip: int, fill: int
) -> tuple[Any, np.ndarray]:
    """Where ``m`` rows of ``k`` elements of ``size`` bytes lie; ``group`` and ``pitch`` count elements."""
    layout, columns = _layout((m, 1, k), size, Window((1, 1), 1, (0, 0), (m, 1)), 1, True, 0, flip, fill)
    return layout._replace(group=group * size, pitch=pitch * size), columns


def _is_int8(low: int, high: int) -> bool:
    return low >= -128 and high <= 127


def _piece_bytes(reach: int) -> int:
    """Bytes of a 16-bit row whose products, ``reach`` at most, fit 32 bits together."""
    from hqsim.kernels.tile import CHUNK_BYTES

    return min(CHUNK_BYTES, ((1 << 31) - 1) // max(reach, 1) // 4 * 8)


def _plain_rows(codes: np.ndarray, eight: bool, zero_point: int) -> tuple[np.ndarray, int, int]:
    """Rows without an inverse: the codes themselves, what flips them, and what that adds to each."""
    if not eight:
        rows = np.ascontiguousarray(codes, np.int16)
        return rows - np.int16(zero_point) if zero_point else rows, 0, 0
    if codes.dtype == np.int8:
        return np.ascontiguousarray(codes), SHIFT, SHIFT + zero_point
    return np.ascontiguousarray(codes.astype(np.uint8)), 0, zero_point


def _inverted_rows(
    codes: np.ndarray, inverse: Transform, packed: PackedLayer, zero_point: int
) -> tuple[np.ndarray, np.ndarray | None]:
    """Rows through the inverse butterflies; halved along the width, the parity bits ``[b, h, w, c]`` too."""
    from hqsim.kernels.transform import invert_transform

    codes = np.ascontiguousarray(codes)
    batch, height, width, channels = codes.shape
    along = (
        (batch * height, width, channels)
        if inverse.axis == "width"
        else (batch * height * width, channels, 1)
    )
    size, apart = inverse.size, packed.halved and inverse.axis == "width"
    longer = channels + 2 * (channels // size) if packed.halved and not apart else channels
    rows = np.empty((batch, height, width, longer), np.int8 if packed.eight else np.int16)
    target = rows.reshape(along[0], -1, along[2])
    bits = np.empty((along[0], along[1] // size, along[2]) if apart else (0, 0, 0), np.uint8)
    signs, zero = signs_of(inverse), np.int64(zero_point)
    invert_transform(codes.reshape(along), signs, zero, packed.halved, target, bits)
    return rows, bits.reshape(batch, height, width // size, channels) if apart else None


def _parity_sums(
    packed: PackedLayer, bits: np.ndarray, size: int, window: Window
) -> tuple[np.ndarray, np.ndarray]:
    """Sums of the parity term int32 ``[1, rows, outputs]``; which of its columns each output column takes.

    ``bits`` are ``[b, h, blocks, c]``, one for ``size`` pixels.
    """
    from hqsim.kernels.product import multiply_codes

    columns, half_of = distinct_windows(window, bits.shape[2], size)
    arguments = _arguments(bits, packed.panels, window, 0, 0, columns=columns, repeat=size.bit_length() - 1)
    sums = np.empty((1, bits.shape[0] * window.output[0] * len(columns), packed.panels.outputs), np.int32)
    nothing = np.zeros(packed.panels.outputs, np.int64)
    rescale = Rescale(nothing.astype(np.int32), nothing, np.int64(0), nothing)
    multiply_codes(*arguments, *_NO_HALVES, *rescale, _ZERO, _ZERO, np.empty((1, 0, 0), np.int16), sums)
    sums >>= 1  # of doubled weights
    return sums, half_of


@lru_cache(maxsize=256)
def distinct_windows(window: Window, blocks: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return output columns whose windows meet different pieces of the blocks of ``size`` pixels.

    And which of them each output column is like: a window meets few different pieces.
    """
    taps = np.arange(window.output[1])[:, None] * window.stride - window.padding[1]
    taps = taps + np.arange(window.kernel[1])
    inside = (taps >= 0) & (taps < blocks * size)
    _, columns, half_of = np.unique(
        np.where(inside, taps // size, -1), axis=0, return_index=True, return_inverse=True
    )
    return columns * window.stride, half_of.reshape(-1).astype(np.int64)


def _arguments(
    rows: np.ndarray,
    panels: Panels,
    window: Window,
    flip: int,
    offset: int,
    groups: int = 1,
    columns: np.ndarray | None = None,
    repeat: int = 0,
) -> Any:
    """The common arguments of the product kernels for ``rows [b, h, w, c]``, contiguous."""
    from hqsim.kernels.jit import thread_count

    one_per_panel = len(panels.sums) > 1 and groups == 1
    layout, all_columns = _layout(
        rows.shape[1:], rows.dtype.itemsize, window, groups, one_per_panel, repeat, flip, offset
    )
    return (
        rows.reshape(-1).view(np.uint8),
        layout,
        all_columns if columns is None else columns,
        panels.form,
        panels.data,
        panels.storage,
        panels.sums,
        np.int64(offset),
        thread_count(),
    )


@lru_cache(maxsize=1024)
def _layout(
    shape: tuple[int, int, int],
    size: int,
    window: Window,
    groups: int,
    one_per_panel: bool,
    repeat: int,
    flip: int,
    fill: int,
) -> tuple[Any, np.ndarray]:
    """Where rows of ``[h, w, c]`` elements of ``size`` bytes lie; the input column of each output column."""
    from hqsim.kernels.panels import padded_channels
    from hqsim.kernels.product import Rows

    height, width, channels = shape
    per_group = channels // groups
    layout = Rows(
        height=height,
        width=width << repeat,
        repeat=repeat,
        kernel_height=window.kernel[0],
        kernel_width=window.kernel[1],
        stride=window.stride,
        top=window.padding[0],
        left=window.padding[1],
        out_height=window.output[0],
        pitch=channels * size,
        run=per_group * size,
        padded_run=padded_channels(per_group) * size,
        group=height * width * channels * size if one_per_panel else per_group * size,
        flip=flip,
        fill=fill,
    )
    return layout, np.arange(window.output[1]) * window.stride


def _finish(
    arguments: Any,
    halves: np.ndarray,
    half_of: np.ndarray,
    rescale: Rescale,
    output: Format,
    count: tuple[int, int],
    size: tuple[int, int],
) -> Finished:
    """Run ``multiply_codes``; ``count`` holds groups and images of each."""
    from hqsim.kernels.product import multiply_codes

    groups, each = count
    codes = np.empty((groups, each * size[0] * size[1], len(rescale.factor)), np.int16)
    limits = (np.int64(output.low), np.int64(output.high))
    no_sums = np.empty((groups, 0, 0), np.int32)
    saturated, lowest, highest = multiply_codes(
        *arguments, halves, half_of, *rescale, *limits, codes, no_sums
    )
    images = codes.astype(output.dtype, copy=False).reshape(groups * each, *size, -1)
    return Finished(images, saturated, lowest, highest)
