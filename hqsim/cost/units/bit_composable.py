"""Bit-composable fusion units: BitFusion (Sharma et al., ISCA 2018).

A fusion unit holds 2-bit multipliers that join to one ``8 x 8`` product or fall apart into
``p = floor(8 / a_bits) * floor(8 / w_bits)`` products of one sum. On ``N`` rows (input channels) x ``M``
columns (output channels) the public simulator counts, for batch ``B``,

    cycles = B * ceil(oc / M) * ow * oh * kw * kh * ceil(ic / (N * p))

so that the taps of a kernel are never joined along the rows, and filling is not counted. Groups run one
after another; a linear layer is a 1 x 1 convolution. Columns keep their weights while the pixels pass
(weights read once), and every fold of the rows passes its sums on through the output buffer.
"""

from __future__ import annotations

from math import ceil

from hqsim.cost.geometry import BitComposable
from hqsim.cost.units.run import UnitRun
from hqsim.graph.record import MatrixWork


def run_bit_composable(geometry: BitComposable, work: MatrixWork, *, rate: float) -> UnitRun:
    """Run a layer's products; ``rate`` is ``p``."""
    conv = work.conv
    taps = conv.kernel_h * conv.kernel_w if conv else 1
    channels = work.k // taps
    row_words = ceil(geometry.rows * rate)
    row_folds = taps * -(-channels // row_words)
    col_folds = -(-work.n // geometry.cols)
    folds = row_folds * col_folds * work.count
    cycles = folds * work.m
    utilization = work.macs / (cycles * row_words * geometry.cols)
    sums = work.m * work.n * work.count * row_folds
    return UnitRun(
        label="bit_composable",
        cycles=cycles,
        folds=folds,
        utilization=utilization,
        mapping_efficiency=utilization,
        a_reads=work.m * work.k * work.count * col_folds,
        w_reads=work.n * work.k * work.count,
        sum_writes=sums,
        sum_reads=sums,
        first_a_words=0,
        first_w_words=min(channels, row_words) * min(work.n, geometry.cols),
    )
