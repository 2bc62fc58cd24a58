"""Row-stationary processing elements: Eyeriss v1 (Chen et al., ISCA 2016 and JSSC 52(1), 2017).

One element keeps a row of filter weights and slides it along a row of the input. A *set* of ``kernel_h`` x
``e`` elements makes ``e`` rows of the output: sums run up its columns, input rows its diagonals. Sets wider
than the array are cut into segments. The array holds ``r * t`` sets, for ``r`` groups of channels and ``t``
groups of filters; an element interleaves ``q`` channels of ``p`` filters, as far as its registers allow:

    q * kernel_w <= ifmap words,   p * q * kernel_w <= filter words,   p <= sum words

A *pass* takes ``p * t`` filters and ``q * r`` channels over ``e`` output rows of one image:

    rows_in, columns_in = (e - 1) * stride_h + kernel_h, (out_w - 1) * stride_w + kernel_w
    pass cycles = max(p * q * kernel_w * out_w,              one MAC per cycle and element
                      q * r * rows_in * columns_in,          inputs, one word per cycle
                      p * t * e * out_w / 4)                 sums, four words per cycle
                + q * r * kernel_w * rows_in                 first windows of the inputs
    passes      = ceil(N / (p t)) * ceil(C / (q r)) * ceil(out_h / e) * batch * groups

and the filters of a pass, four words per cycle, are loaded once for ``images`` images (bus widths: JSSC,
section V-B; the PE array waits for the first data of a pass: section VI-A). A pass reads its inputs from
the buffer once, and reads and writes its sums once. The mapping is the one of fewest cycles, then fewest
words.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from hqsim.cost.geometry import RowStationary
from hqsim.cost.units.run import UnitRun
from hqsim.errors import UnsupportedError
from hqsim.graph.record import ConvWork, MatrixWork

#: Words per cycle from the buffer to the elements; inputs take one.
FILTER_WORDS_PER_CYCLE = 4
SUM_WORDS_PER_CYCLE = 4
Numbers = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class RowMapping:
    """The mapping parameters of JSSC 2017, table II; ``images`` share the filters of a pass."""

    e: int
    p: int
    q: int
    r: int
    t: int
    images: int


@dataclass(frozen=True)
class RowRun:
    """What a mapping costs; words at the global buffer (sums are written and read as often)."""

    cycles: int
    passes: int
    active: int
    ifmap_words: int
    filter_words: int
    sum_words: int


def row_run(conv: ConvWork, mapping: RowMapping) -> RowRun:
    """Return cycles and words of a convolution under ``mapping``."""
    values = [np.array(getattr(mapping, field.name), np.int64) for field in fields(mapping)]
    return RowRun(*(int(value) for value in _costs(conv, *values)))


def _costs(
    conv: ConvWork, e: Numbers, p: Numbers, q: Numbers, r: Numbers, t: Numbers, images: Numbers
) -> tuple[Numbers, ...]:
    """Return the fields of a :class:`RowRun`, elementwise."""
    channels, filters = conv.in_channels // conv.groups, conv.out_channels // conv.groups
    strips = -(-conv.out_h // e)
    filter_folds = -(-filters // (p * t))
    channel_folds = -(-channels // (q * r))
    folds = filter_folds * channel_folds * strips * conv.groups
    sets_of_images = -(-conv.batch // images)
    rows_in = (e - 1) * conv.stride_h + conv.kernel_h
    columns_in = (conv.out_w - 1) * conv.stride_w + conv.kernel_w
    window = q * conv.kernel_w
    sum_cycles = -(-p * t * e * conv.out_w // SUM_WORDS_PER_CYCLE)
    steady = np.maximum(p * window * conv.out_w, np.maximum(q * r * rows_in * columns_in, sum_cycles))
    load_words = window * p * conv.kernel_h * r * t
    kernel = conv.kernel_h * conv.kernel_w
    return (
        folds * conv.batch * (steady + window * r * rows_in)
        + folds * sets_of_images * -(-load_words // FILTER_WORDS_PER_CYCLE),
        folds * conv.batch,
        conv.kernel_h * e * r * t,
        filter_folds * strips * conv.batch * rows_in * columns_in * conv.in_channels,
        kernel * channels * conv.out_channels * strips * sets_of_images,
        conv.out_channels * conv.out_h * conv.out_w * conv.batch * channel_folds,
    )


@lru_cache(maxsize=4096)
def map_rows(geometry: RowStationary, conv: ConvWork) -> tuple[RowMapping, RowRun]:
    """Return the mapping of fewest cycles (then fewest buffer words), all images sharing their filters.

    Searched: every even number of output rows, every even number of channels ``q`` and every ``r``; ``t``
    takes the sets that are left and ``p`` the registers that are left, both no more than even shares of the
    filters need.

    Raises
    ------
    UnsupportedError
        For a kernel higher than the array or wider than an element's registers.
    """
    if conv.kernel_h > geometry.rows or conv.kernel_w > min(geometry.ifmap_words, geometry.filter_words):
        raise UnsupportedError(
            f"a row-stationary array of {geometry.rows} rows with {geometry.ifmap_words} ifmap words and "
            f"{geometry.filter_words} filter words per element cannot hold a kernel of "
            f"{conv.kernel_h} x {conv.kernel_w}; use a smaller kernel or a larger array."
        )
    candidates = _candidates(geometry, conv)
    cycles, _, _, ifmap_words, _, sum_words = _costs(conv, *candidates)
    fastest = np.flatnonzero(cycles == cycles.min())
    best = fastest[np.argmin((ifmap_words + 2 * sum_words)[fastest])]
    e, p, q, r, t, images = (int(values[best]) for values in candidates)
    mapping = RowMapping(e=e, p=p, q=q, r=r, t=t, images=images)
    return mapping, row_run(conv, mapping)


def _candidates(geometry: RowStationary, conv: ConvWork) -> tuple[Numbers, ...]:
    """Return the fields of every mapping that fits, one array each."""
    channels, filters = conv.in_channels // conv.groups, conv.out_channels // conv.groups
    stacked = geometry.rows // conv.kernel_h
    widest = min(geometry.ifmap_words, geometry.filter_words) // conv.kernel_w
    e, q, r = np.meshgrid(
        _shares(conv.out_h, stacked * geometry.cols),
        _shares(channels, widest),
        np.arange(1, min(channels, stacked * geometry.cols) + 1),
    )
    sets = np.where(e <= geometry.cols, stacked * (geometry.cols // e), stacked // -(-e // geometry.cols))
    fits = r <= sets
    e, q, r, sets = e[fits], q[fits], r[fits], sets[fits]
    most = np.minimum(geometry.sum_words, geometry.filter_words // (q * conv.kernel_w))
    t = np.minimum(sets // r, filters)
    share = -(-filters // t)
    p = -(-share // -(-share // most))
    t = -(-filters // (p * -(-filters // (p * t))))
    return e, p, q, r, t, np.full_like(e, conv.batch)


def _shares(total: int, most: int) -> Numbers:
    """Return the even shares ``ceil(total / parts)`` that are no larger than ``most``."""
    sizes = np.arange(1, min(total, most) + 1)
    return np.unique(-(-total // -(-total // sizes)))


def as_rows(geometry: RowStationary, work: MatrixWork) -> ConvWork:
    """Return the layer's convolution; a product becomes a 1 x 1 one, its rows an image, one column each."""
    if work.conv is not None:
        return work.conv
    height = min(work.m, geometry.cols)
    width = -(-work.m // height)
    return ConvWork(
        kernel_h=1,
        kernel_w=1,
        stride_h=1,
        stride_w=1,
        in_h=height,
        in_w=width,
        out_h=height,
        out_w=width,
        in_channels=work.k * work.count,
        out_channels=work.n * work.count,
        groups=work.count,
        batch=1,
    )


def run_row_stationary(geometry: RowStationary, work: MatrixWork, *, rate: float) -> UnitRun:
    """Run a layer's products with the best mapping; a fold is a pass."""
    conv = as_rows(geometry, work)
    mapping, run = map_rows(geometry, conv)
    cycles = max(1, round(run.cycles / rate))
    rows_in = (mapping.e - 1) * conv.stride_h + conv.kernel_h
    window = min(mapping.q * mapping.r, conv.in_channels // conv.groups) * conv.kernel_w
    filters = min(mapping.p * mapping.t, conv.out_channels // conv.groups)
    return UnitRun(
        label="row_stationary",
        cycles=cycles,
        folds=run.passes,
        utilization=work.macs / (cycles * geometry.cells * rate),
        mapping_efficiency=run.active / geometry.cells,
        a_reads=run.ifmap_words,
        w_reads=run.filter_words,
        sum_writes=run.sum_words,
        sum_reads=run.sum_words,
        first_a_words=window * rows_in,
        first_w_words=window * conv.kernel_h * filters,
    )
