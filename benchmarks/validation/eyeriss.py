"""Eyeriss v1 on AlexNet's convolutions, four images, 1 V (Chen et al., JSSC 52(1), 2017, tables III and V).

Both tables are images in the paper. Their figures were compared with another reading of them (repository
cucapra/fodlam, raw/ and data/eyeriss-alexnet.csv), and they add up to the totals of section VI-A; ``e``,
``r`` and ``t`` are also in section IV-A. One differs there, CONV3's processing time of 21.3 ms, with which
the rows miss their total. The measured buffer accesses of CONV3 are those of six channels in a pass and
``t = 2``, as in the layers behind it, not of the ``t = 4`` that the paper prints.

The row-stationary unit runs the published mapping, and beside it the mapping that it would choose.
Transfers with DRAM follow section IV: an input strip is read once per ``m`` filters whose sums the global
buffer holds, filters once per strip and group of images (the buffer only prefetches them), outputs are
written once. Feature maps but the network's input are run-length coded (three pairs of a 5-bit run and a
16-bit level in 64 bits), with the zeros that table V gives for a layer's input; they are taken for the
output of the layer before, which is pooled and normalised in between. The total latency adds the feature
maps over the 64-bit link at 60 MHz, since the chip computes nothing meanwhile (section VI-A).
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from benchmarks.validation import show, with_errors
from hqsim.cost.geometry import RowStationary
from hqsim.cost.units.row_stationary import RowMapping, RowRun, map_rows, row_run
from hqsim.graph.record import ConvWork

EYERISS = RowStationary(rows=12, cols=14, ifmap_words=12, filter_words=224, sum_words=24)
CLOCK_HZ, LINK_BYTES_PER_S = 200e6, 60e6 * 8
BATCH, WORD_BYTES, CODED_BITS = 4, 2, 64 / 3


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One layer: its shape, its published mapping (``m`` filters in the buffer) and its published figures."""

    name: str
    conv: ConvWork
    mapping: RowMapping
    m: int
    zeros: float
    active: int
    processing_ms: float
    total_ms: float
    buffer_mb: float
    dram_mb: float


def _layer(
    name: str, shape: tuple[int, ...], mapping: tuple[int, ...], zeros: float, *figures: float
) -> Layer:
    size, kernel, stride, out, channels, filters, groups = shape
    m, images, e, p, q, r, t = mapping
    active, total_ms, processing_ms, buffer_mb, dram_mb = figures
    return Layer(
        name=name,
        conv=ConvWork(
            kernel_h=kernel,
            kernel_w=kernel,
            stride_h=stride,
            stride_w=stride,
            in_h=size,
            in_w=size,
            out_h=out,
            out_w=out,
            in_channels=channels,
            out_channels=filters,
            groups=groups,
            batch=BATCH,
        ),
        mapping=RowMapping(e=e, p=p, q=q, r=r, t=t, images=images),
        m=m,
        zeros=zeros,
        active=int(active),
        processing_ms=processing_ms,
        total_ms=total_ms,
        buffer_mb=buffer_mb,
        dram_mb=dram_mb,
    )


#: size, kernel, stride, output, channels, filters, groups; m, n, e, p, q, r, t; zeros of the input;
#: active elements, total and processing ms, MB at the global buffer and at DRAM.
LAYERS = (
    _layer("CONV1", (227, 11, 4, 55, 3, 96, 1), (96, 1, 7, 16, 1, 1, 2), 0.0001, 154, 20.9, 16.5, 18.5, 5.0),
    _layer("CONV2", (27, 5, 1, 27, 96, 256, 2), (64, 1, 27, 16, 2, 1, 1), 0.387, 135, 41.9, 39.2, 77.6, 4.0),
    _layer("CONV3", (13, 3, 1, 13, 256, 384, 1), (64, 4, 13, 16, 4, 1, 4), 0.725, 156, 23.6, 21.8, 50.2, 3.0),
    _layer("CONV4", (13, 3, 1, 13, 384, 384, 2), (64, 4, 13, 16, 3, 2, 2), 0.793, 156, 18.4, 16.0, 37.4, 2.1),
    _layer("CONV5", (13, 3, 1, 13, 384, 256, 2), (64, 4, 13, 16, 3, 2, 2), 0.776, 156, 10.5, 10.0, 24.9, 1.3),
)


def buffer_mb(run: RowRun) -> float:
    """Return megabytes at the global buffer: inputs read, sums written and read."""
    return (run.ifmap_words + 2 * run.sum_words) * WORD_BYTES / 1e6


def map_words(layer: Layer, output_zeros: float) -> float:
    """Return 16-bit words of feature maps that cross the link, coded."""
    conv = layer.conv
    above = ((conv.out_h - 1) * conv.stride_h + conv.kernel_h - conv.in_h) // 2
    rows = 0
    for strip in range(0, conv.out_h, layer.mapping.e):
        last = min(strip + layer.mapping.e, conv.out_h) - 1
        first_row = max(0, strip * conv.stride_h - above)
        rows += min(conv.in_h, last * conv.stride_h - above + conv.kernel_h) - first_row
    blocks = -(-conv.out_channels // conv.groups // layer.m)
    inputs = rows * conv.in_w * conv.in_channels * BATCH * blocks
    outputs = conv.out_h * conv.out_w * conv.out_channels * BATCH
    return inputs * _coded(layer.zeros) + outputs * _coded(output_zeros)


def _coded(zeros: float) -> float:
    return min(1.0, (1 - zeros) * CODED_BITS / 16)


def compare() -> pd.DataFrame:
    """Return one row per layer and quantity, then those of all layers."""
    rows = []
    times, dram, buffers, macs = {"processing ms": 0.0, "total ms": 0.0}, 0.0, 0.0, 0
    for layer, after in zip(LAYERS, (*LAYERS[1:], LAYERS[-1]), strict=True):
        run = row_run(layer.conv, layer.mapping)
        _, chosen = map_rows(EYERISS, layer.conv)
        maps_mb = map_words(layer, after.zeros) * WORD_BYTES / 1e6
        layer_dram_mb = maps_mb + run.filter_words * WORD_BYTES / 1e6
        processing_ms = run.cycles / CLOCK_HZ * 1e3
        total_ms = processing_ms + maps_mb * 1e9 / LINK_BYTES_PER_S
        figures = {
            "active elements": (layer.active, run.active),
            "processing ms": (layer.processing_ms, processing_ms),
            "processing ms, own mapping": (layer.processing_ms, chosen.cycles / CLOCK_HZ * 1e3),
            "total ms": (layer.total_ms, total_ms),
            "buffer MB": (layer.buffer_mb, buffer_mb(run)),
            "buffer MB, own mapping": (layer.buffer_mb, buffer_mb(chosen)),
            "DRAM MB": (layer.dram_mb, layer_dram_mb),
        }
        rows += [
            {"layer": layer.name, "quantity": name, "published": published, "modelled": modelled}
            for name, (published, modelled) in figures.items()
        ]
        times["processing ms"] += processing_ms
        times["total ms"] += total_ms
        dram += layer_dram_mb
        buffers += buffer_mb(run)
        conv = layer.conv
        outputs = conv.out_h * conv.out_w * conv.out_channels * BATCH
        macs += outputs * conv.kernel_h * conv.kernel_w * conv.in_channels // conv.groups
    totals = {
        "processing ms": (103.5, times["processing ms"]),
        "frames per second": (34.7, BATCH / times["total ms"] * 1e3),
        "buffer MB": (208.5, buffers),
        "DRAM MB": (15.4, dram),
        "DRAM accesses per MAC": (0.0029, dram * 1e6 / WORD_BYTES / macs),
    }
    rows += [
        {"layer": "all", "quantity": name, "published": published, "modelled": modelled}
        for name, (published, modelled) in totals.items()
    ]
    return with_errors(rows)


if __name__ == "__main__":
    show(compare())
