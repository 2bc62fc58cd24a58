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
from typing import TYPE_CHECKING, Any

import numpy as np

from hqsim.graph import Node
from hqsim.numerics import Format, Transform
from hqsim.ops.quantize import signs_of
from hqsim.ops.realisation import inverse_of

if TYPE_CHECKING:
    from hqsim.kernels.panels import Panels

SHIFT = 128
"""What makes signed 8-bit codes unsigned."""


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

    ``halved``: its operand is multiplied as ``2 a' + p``, 8 bits and a parity bit per block.
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
        if inverse.axis == "width" and weight.shape[1] > 1:
            return PackedLayer(pack_panels(plain, EIGHT), eight=True, halved=True)
        if inverse.axis == "channel":
            longer = _with_block_sums(plain, inverse.size)
            if _is_int8(int(longer.min()), int(longer.max())):
                return PackedLayer(pack_panels(longer, EIGHT), eight=True, halved=True)
    return PackedLayer(pack_panels(plain, sixteen), eight=False)


def _with_block_sums(taps: np.ndarray, size: int) -> np.ndarray:
    """Return what ``[a', p, p]`` is multiplied by: twice the weights, each block's sum in two halves."""
    taps = taps.astype(np.int64)
    sums = taps.reshape(*taps.shape[:3], -1, size).sum(axis=-1)
    return np.concatenate([2 * taps, sums // 2, sums - sums // 2], axis=-1)


def multiply_layer(
    node: Node,
    packed: PackedLayer,
    images: np.ndarray,
    window: Window,
    zero_point: int,
    rescale: tuple[np.ndarray, np.ndarray, np.ndarray],
    output: Format,
) -> Finished:
    """Return output codes ``[b, h, w, outputs]`` of operand codes ``images [b, h, w, c]``, channels last.

    ``rescale`` holds factor, addend and shift per output (:func:`channel_factors`).
    """
    inverse = inverse_of(node)
    halves, half_of = np.zeros((0, 0, 0), np.int32), np.zeros(window.output[1], np.int64)
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
    rescale: tuple[np.ndarray, np.ndarray, np.ndarray],
    output: Format,
) -> Finished:
    """Return output codes ``[count, m, 1, n]`` of ``a [count, m, k]`` times the rows of ``b [count, n, k]``.

    ``ranges`` int64 ``[2, 2]`` bounds both operands less their zero-points.
    """
    from hqsim.kernels.panels import pack_activation
    from hqsim.kernels.tile import EIGHT, fastest_form

    (low, high), (b_low, b_high) = ranges.tolist()
    eight = fastest_form(eight_bits=True) == EIGHT
    eight = eight and high - low <= 255 and _is_int8(b_low, b_high)
    b = b.astype(np.int16) - np.int16(zero_points[1]) if zero_points[1] else b
    panels = pack_activation(b, fastest_form(eight_bits=eight), b_low, b_high)
    count, m, _ = a.shape
    rows, flip, offset = _plain_rows(a[:, :, None, :], eight, int(zero_points[0]))
    window = Window((1, 1), 1, (0, 0), (m, 1))
    arguments = _arguments(rows, panels, window, flip, offset)
    nothing = np.zeros((0, 0, 0), np.int32)
    return _finish(arguments, nothing, np.zeros(1, np.int64), rescale, output, (count, 1), window.output)


def channel_factors(
    multiplier: np.ndarray, shift: np.ndarray, bias: np.ndarray, bias_bits: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return factor int32, addend int64 and shift int64 of ``(sum * factor + addend) >> shift``."""
    half = (np.int64(1) << shift) >> 1
    return multiplier.astype(np.int32), (bias << (shift - bias_bits)) + half, shift


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
    rows = np.ascontiguousarray(a, np.int16)[:, :, None, :]
    window = Window((1, 1), 1, (0, 0), (a.shape[1], 1))
    sums = np.empty((*a.shape[:2], b.shape[1]), np.int64)
    multiply_sums(*_arguments(rows, panels, window, 0, 0), _piece_bytes(reaches[0] * reaches[1]), sums)
    return sums


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
    signs = signs_of(inverse).astype(np.int32)
    invert_transform(codes.reshape(along), signs, np.int64(zero_point), packed.halved, target, bits)
    return rows, bits.reshape(batch, height, width // size, channels) if apart else None


def _parity_sums(
    packed: PackedLayer, bits: np.ndarray, size: int, window: Window
) -> tuple[np.ndarray, np.ndarray]:
    """Sums of the parity term int32 ``[1, rows, outputs]``; which of its columns each output column takes.

    A window meets few different pieces of the blocks of ``size`` pixels, so few columns differ.
    """
    from hqsim.kernels.product import multiply_sums
    from hqsim.kernels.tile import CHUNK_BYTES

    taps = np.arange(window.output[1])[:, None] * window.stride - window.padding[1]
    taps = taps + np.arange(window.kernel[1])
    inside = (taps >= 0) & (taps < bits.shape[2] * size)
    _, columns, half_of = np.unique(
        np.where(inside, taps // size, -1), axis=0, return_index=True, return_inverse=True
    )
    rows = np.repeat(bits, size, axis=2)
    arguments = _arguments(rows, packed.panels, window, 0, 0, columns=columns)
    sums = np.empty((1, bits.shape[0] * window.output[0] * len(columns), packed.panels.outputs), np.int64)
    multiply_sums(*arguments, CHUNK_BYTES, sums)
    return sums.astype(np.int32), half_of.reshape(-1).astype(np.int64)


def _arguments(
    rows: np.ndarray,
    panels: Panels,
    window: Window,
    flip: int,
    offset: int,
    groups: int = 1,
    columns: np.ndarray | None = None,
) -> Any:
    """The common arguments of the product kernels for ``rows [b, h, w, c]``, contiguous."""
    from hqsim.kernels.jit import thread_count
    from hqsim.kernels.panels import padded_channels
    from hqsim.kernels.product import Rows

    _, height, width, channels = rows.shape
    size = rows.dtype.itemsize
    per_group = channels // groups
    one_per_panel = len(panels.sums) > 1 and groups == 1
    layout = Rows(
        height=height,
        width=width,
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
        fill=offset,
    )
    if columns is None:
        columns = np.arange(window.output[1])
    corrections = (panels.sums * offset).astype(np.int32)
    bytes_of = rows.reshape(-1).view(np.uint8)
    return (
        bytes_of,
        layout,
        columns * window.stride,
        panels.form,
        panels.data,
        panels.storage,
        corrections,
        thread_count(),
    )


def _finish(
    arguments: Any,
    halves: np.ndarray,
    half_of: np.ndarray,
    rescale: tuple[np.ndarray, np.ndarray, np.ndarray],
    output: Format,
    count: tuple[int, int],
    size: tuple[int, int],
) -> Finished:
    """Run ``multiply_codes``; ``count`` holds groups and images of each."""
    from hqsim.kernels.product import multiply_codes

    groups, each = count
    factor, addend, shift = rescale
    codes = np.empty((groups, each * size[0] * size[1], len(factor)), np.int16)
    limits = (np.int64(output.low), np.int64(output.high))
    found = multiply_codes(*arguments, halves, half_of, factor, addend, shift, *limits, codes)
    images = codes.astype(output.dtype, copy=False).reshape(groups * each, *size, -1)
    return Finished(images, int(found[:, 0].sum()), int(found[:, 1].min()), int(found[:, 2].max()))
