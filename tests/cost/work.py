"""Small products, convolutions and matrix units for the tests of the units."""

from __future__ import annotations

from hqsim.cost.geometry import Geometry
from hqsim.cost.machine import MatrixUnit, MultiplyEnergy, NativeWidth, Quantity
from hqsim.graph.record import ConvWork, MatrixWork


def unit(geometry: Geometry, *native: tuple[int, int, float], other_widths: str = "passes") -> MatrixUnit:
    """A matrix unit of 8 x 8 bits, or of the given ``(a_bits, w_bits, rate)``."""
    return MatrixUnit(
        name="unit",
        geometry=geometry,
        native=tuple(NativeWidth(a_bits=a, w_bits=w, rate=rate) for a, w, rate in native or ((8, 8, 1.0),)),
        other_widths=other_widths,
        accumulator_bits=32,
        multiply=(MultiplyEnergy(energy_pj=Quantity(value=1.0), a_bits=8, w_bits=8),),
    )


def product(m: int, n: int, k: int, *, count: int = 1, conv: ConvWork | None = None) -> MatrixWork:
    return MatrixWork(
        m=m,
        n=n,
        k=k,
        count=count,
        a_storage_bits=8,
        w_storage_bits=8,
        a_multiplier_bits=8,
        w_multiplier_bits=8,
        accumulator_bits=32,
        conv=conv,
    )


def convolution(
    channels: int,
    filters: int,
    size: int,
    kernel: int,
    *,
    stride: int = 1,
    padding: int = 0,
    groups: int = 1,
    batch: int = 1,
) -> MatrixWork:
    """A square convolution as its implicit GEMM; ``channels`` and ``filters`` of all groups."""
    out = (size + 2 * padding - kernel) // stride + 1
    conv = ConvWork(
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
        batch=batch,
    )
    depth = kernel * kernel * channels // groups
    return product(batch * out * out, filters // groups, depth, count=groups, conv=conv)
