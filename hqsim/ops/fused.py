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

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from hqsim.graph import Node
from hqsim.numerics import Format, Transform
from hqsim.ops.layer_layout import SHIFT, LayerCall, ParityCall, Window, layer_call, pair_layout, row_layout
from hqsim.ops.quantize import signs_of
from hqsim.ops.realisation import inverse_of

if TYPE_CHECKING:
    from hqsim.kernels.panels import Panels

ALL_THREADS = 0
LINE_BYTES = 64
_NO_HALVES = np.zeros((0, 0, 0), np.int32), np.zeros(1, np.int64)
_NO_BITS = np.zeros((0, 0, 0), np.uint8)


@dataclass(frozen=True)
class PackedLayer:
    """Weights of a layer as the kernels want them, and how its operand enters them.

    ``halved``: its operand is multiplied as ``2 a' + p``, 8 bits and a parity bit per block, by doubled
    weights. ``calls`` remembers what is common to images of a shape and type.
    """

    panels: Panels
    eight: bool
    halved: bool = False
    inverse: Transform | None = None
    calls: dict[tuple[Any, ...], LayerCall] = field(default_factory=dict, compare=False, repr=False)

    def call(self, images: np.ndarray, window: Callable[[], Window]) -> LayerCall:
        """Return what calls with such images have in common; every call of a layer has the same window."""
        key = (images.shape, images.dtype.num)
        found = self.calls.get(key)
        if found is None:
            found = layer_call(images, window(), self.inverse, eight=self.eight, halved=self.halved)
            self.calls[key] = found
        return found


class Finished(NamedTuple):
    """Codes of a product, how many saturated, the range of its sums, events of a modelled accumulator."""

    codes: np.ndarray
    saturated: int
    lowest: int
    highest: int
    events: int = 0

    def reshaped(self, codes: np.ndarray) -> Finished:
        """Return the same with its codes in another shape."""
        return self._replace(codes=codes)


class Rescale(NamedTuple):
    """Bias and rescale of the sums, per output.

    ``round_half_up((sum * factor + bias * 2**(shift - bias_bits)) / 2**shift)``; int32 factor, int64 bias and
    shift ``[outputs]``.
    """

    factor: np.ndarray
    bias: np.ndarray
    bias_bits: int
    shift: np.ndarray


def pack_layer(node: Node, weight: np.ndarray, low: int, high: int) -> PackedLayer:
    """Pack integer weights ``[outputs, channels, kh, kw]`` for operands in [low, high]."""
    from hqsim.kernels.panels import pack_panels
    from hqsim.kernels.tile import EIGHT, fastest_form

    inverse, sixteen = inverse_of(node), fastest_form(eight_bits=False)
    fits = fastest_form(eight_bits=True) == EIGHT and _is_int8(int(weight.min()), int(weight.max()))
    plain = taps_of(weight)
    # Without an inverse the codes themselves are the rows: 8 bits, signed or unsigned.
    if fits and (high - low <= 255 if inverse is None else _is_int8(low, high)):
        return PackedLayer(pack_panels(plain, EIGHT), eight=True, inverse=inverse)
    if fits and inverse is not None and _is_int8(low >> 1, high >> 1):
        doubled = _doubled(plain, inverse)
        if (inverse.axis == "channel" or weight.shape[1] > 1) and _is_int8(doubled.min(), doubled.max()):
            return PackedLayer(pack_panels(doubled, EIGHT), eight=True, halved=True, inverse=inverse)
    return PackedLayer(pack_panels(plain, sixteen), eight=False, inverse=inverse)


def taps_of(weight: np.ndarray, groups: int = 1) -> np.ndarray:
    """Return weights ``[outputs, channels, kh, kw]`` as ``[groups, outputs, taps, channels]``.

    The taps follow each other down the columns of a window, as in the rows.
    """
    outputs, channels = weight.shape[:2]
    taps = np.ascontiguousarray(weight.transpose(0, 3, 2, 1))
    return taps.reshape(groups, outputs // groups, -1, channels)


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
    packed: PackedLayer,
    images: np.ndarray,
    window: Callable[[], Window],
    zero_point: int,
    rescale: Rescale,
    output: Format,
) -> Finished:
    """Return output codes ``[b, h, w, outputs]`` of operand codes ``images [b, h, w, c]``, channels last.

    ``window`` is asked once for images of a shape.
    """
    call = packed.call(images, window)
    halves = _NO_HALVES
    if packed.inverse is None:
        rows, offset = _plain_rows(images, packed.eight, zero_point)
    else:
        rows, bits = _inverted_rows(packed, call, images, zero_point)
        offset = SHIFT if packed.eight else 0
        if call.parity is not None:
            halves = _parity_sums(packed.panels, call.parity, bits)
    product = _product(rows, call.layout, call.columns, packed.panels, offset)
    return _finish(product, halves, rescale, output, (1, len(images)), call.size)


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
        a, offset = _plain_rows(a, eight, offset)
        flip = SHIFT if a.dtype == np.int8 else 0
    product = _pair_product(a, panels, flip, offset)
    return _finish(product, _NO_HALVES, rescale, output, (len(a), 1), (a.shape[1], 1))


def pack_segment(weight: np.ndarray, groups: int = 1) -> Panels:
    """Pack integer weights ``[outputs, channels of a group, kh, kw]`` for :func:`layer_sums`."""
    from hqsim.kernels.panels import pack_panels
    from hqsim.kernels.tile import fastest_form

    return pack_panels(taps_of(weight, groups), fastest_form(eight_bits=False))


def layer_sums(panels: Panels, operand: np.ndarray, window: Window, reach: int) -> np.ndarray:
    """Return exact sums int64 ``[b, h, w, groups * outputs]`` of an int16 operand ``[b, h, w, c]``.

    ``reach`` bounds the operand's magnitude.
    """
    from hqsim.kernels.product import multiply_sums

    assert reach * panels.largest < 1 << 29, "four products must fit 32 bits"
    images, groups = operand.shape[0], len(panels.sums)
    rows = np.ascontiguousarray(operand, np.int16)
    layout, columns = row_layout(rows.shape[1:], 2, window, groups=groups)
    sums = np.empty((groups, images * window.output[0] * window.output[1], panels.outputs), np.int64)
    product = _product(rows, layout, columns, panels, 0)
    multiply_sums(*product, _piece_bytes(reach * panels.largest), sums)
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
    multiply_sums(*_pair_product(a, panels, 0, 0), _piece_bytes(reaches[0] * reaches[1]), sums)
    return sums


def _pair_product(a: np.ndarray, panels: Panels, flip: int, offset: int) -> Any:
    """The arguments that the product kernels share for ``a [count, m, k]``, rows read where they lie."""
    from hqsim.kernels.panels import in_place

    memory, (group, pitch, step) = in_place(a)
    if step != 1:
        memory, (group, pitch, _) = in_place(np.ascontiguousarray(a))
    layout, columns = pair_layout(*a.shape[1:], group, pitch, a.itemsize, flip)
    return _product(memory, layout, columns, panels, offset)


def _is_int8(low: int, high: int) -> bool:
    return low >= -128 and high <= 127


def _piece_bytes(reach: int) -> int:
    """Bytes of a 16-bit row whose products, ``reach`` at most, fit 32 bits together."""
    from hqsim.kernels.tile import CHUNK_BYTES

    return min(CHUNK_BYTES, ((1 << 31) - 1) // max(reach, 1) // 4 * 8)


def _plain_rows(codes: np.ndarray, eight: bool, zero_point: int) -> tuple[np.ndarray, int]:
    """Rows without an inverse: the codes themselves; what flip and zero-point add to each."""
    if not eight:
        rows = np.ascontiguousarray(codes, np.int16)
        return rows - np.int16(zero_point) if zero_point else rows, 0
    if codes.dtype == np.int8:
        return np.ascontiguousarray(codes), SHIFT + zero_point
    return np.ascontiguousarray(codes.astype(np.uint8)), zero_point


def _inverted_rows(
    packed: PackedLayer, call: LayerCall, images: np.ndarray, zero_point: int
) -> tuple[np.ndarray, np.ndarray]:
    """Rows through the inverse butterflies; the parities too where they are a product of their own."""
    from hqsim.kernels.transform import invert_transform

    assert packed.inverse is not None
    rows = _aligned(call.rows, np.dtype(np.int8 if packed.eight else np.int16))
    bits = np.empty(call.parity.bits, np.uint8) if call.parity else _NO_BITS
    outer, _, inner = call.along
    invert_transform(
        np.ascontiguousarray(images).reshape(call.along),
        signs_of(packed.inverse),
        np.int64(zero_point),
        packed.halved,
        rows.reshape(outer, -1, inner),
        bits,
    )
    return rows, bits


def _aligned(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Return an uninitialised array that starts with a cache line: gathering reads vectors of 64 bytes."""
    room = np.empty(math.prod(shape) * dtype.itemsize + LINE_BYTES, np.uint8)
    first = -room.__array_interface__["data"][0] % LINE_BYTES
    return np.ndarray(shape, dtype, room, first)


def _parity_sums(panels: Panels, call: ParityCall, bits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sums of the parity term int32 ``[1, rows, outputs]``; which of its columns each output column takes."""
    from hqsim.kernels.halves import join_taps
    from hqsim.kernels.product import multiply_codes

    taps, kinds = call.blocks.shape
    sums = np.empty((taps, call.lines * len(call.columns), panels.outputs), np.int32)
    product = _product(bits, call.layout, call.columns, panels, 0)
    multiply_codes(*product, *_NO_HALVES, *_unscaled(panels.outputs), 0, 0, _no_codes(taps), sums)
    halves = np.empty((1, call.lines * kinds, panels.outputs), np.int32)
    join_taps(sums, call.blocks, ALL_THREADS, halves)
    return halves, call.half_of


@lru_cache(maxsize=256)
def _unscaled(outputs: int) -> Rescale:
    """The rescale of sums that stay sums."""
    nothing = np.zeros(outputs, np.int64)
    return Rescale(nothing.astype(np.int32), nothing, 0, nothing)


@lru_cache(maxsize=256)
def _no_codes(groups: int) -> np.ndarray:
    return np.empty((groups, 0, 0), np.int16)


@lru_cache(maxsize=256)
def _no_sums(groups: int) -> np.ndarray:
    return np.empty((groups, 0, 0), np.int32)


def _product(rows: np.ndarray, layout: np.ndarray, columns: np.ndarray, panels: Panels, offset: int) -> Any:
    """The arguments that the product kernels share; ``rows`` contiguous."""
    return (
        rows.reshape(-1).view(np.uint8),
        layout,
        columns,
        panels.form,
        panels.data,
        panels.storage,
        panels.sums,
        offset,
        ALL_THREADS,
    )


def _finish(
    product: Any,
    halves: tuple[np.ndarray, np.ndarray],
    rescale: Rescale,
    output: Format,
    count: tuple[int, int],
    size: tuple[int, int],
) -> Finished:
    """Run ``multiply_codes``; ``count`` holds groups and images of each."""
    from hqsim.kernels.product import multiply_codes

    groups, each = count
    codes = np.empty((groups, each * size[0] * size[1], len(rescale.factor)), np.int16)
    saturated, lowest, highest = multiply_codes(
        *product, *halves, *rescale, output.low, output.high, codes, _no_sums(groups)
    )
    images = codes.astype(output.dtype, copy=False).reshape(groups * each, *size, -1)
    return Finished(images, saturated, lowest, highest)
