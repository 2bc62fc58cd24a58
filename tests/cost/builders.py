"""Small machines and records for the cost tests."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from hqsim.cost.geometry import Geometry, Systolic
from hqsim.cost.machine import (
    OPERAND_KINDS,
    HadamardUnit,
    Hardware,
    MatrixUnit,
    MemoryLevel,
    MultiplyEnergy,
    NativeWidth,
    Quantity,
    VectorUnit,
    WidthEnergy,
)
from hqsim.graph.record import (
    ConvWork,
    HadamardWork,
    LayerRecord,
    MatrixWork,
    ParityTerm,
    TensorUse,
    Variant,
)


def quantity(value: float, *, assumed: bool = False) -> Quantity:
    return Quantity(value=value, assumed=assumed)


def memory(
    name: str,
    size_bytes: int | None,
    bytes_per_cycle: float,
    *,
    read_pj: float = 1.0,
    write_pj: float = 2.0,
    double_buffered: bool = True,
    holds: frozenset[str] = OPERAND_KINDS,
    place: str = "",
) -> MemoryLevel:
    return MemoryLevel(
        name=name,
        size_bytes=size_bytes,
        bytes_per_cycle=bytes_per_cycle,
        read_pj_per_byte=quantity(read_pj),
        write_pj_per_byte=quantity(write_pj),
        double_buffered=double_buffered,
        holds=holds,
        place=place,
    )


def systolic(rows: int = 2, cols: int = 2, arrays: int = 1, dataflow: str = "ws") -> Systolic:
    return Systolic(rows=rows, cols=cols, arrays=arrays, dataflow=dataflow)


def native(*pairs: tuple[int, int] | tuple[int, int, float]) -> tuple[NativeWidth, ...]:
    """(activation bits, weight bits, rate) each; the rate may be left out."""
    return tuple(NativeWidth(a_bits=a, w_bits=w, rate=rate[0] if rate else 1.0) for a, w, *rate in pairs)


def matrix_unit(geometry: Geometry | None = None, **changes: object) -> MatrixUnit:
    values: dict[str, object] = {
        "name": "array",
        "geometry": geometry or systolic(),
        "native": native((8, 8)),
        "other_widths": "passes",
        "accumulator_bits": 32,
        "multiply": (MultiplyEnergy(energy_pj=quantity(1.0), a_bits=8, w_bits=8),),
        "add": WidthEnergy(energy_pj=quantity(0.5), bits=32),
        "register_pj_per_bit": quantity(0.01),
    }
    return MatrixUnit(**{**values, **changes})  # type: ignore[arg-type]


def transform_unit(
    *,
    kind: str = "butterfly",
    lanes: int = 4,
    stages: int = 2,
    orders: Sequence[int] = (1, 2),
    parity: bool = False,
) -> HadamardUnit:
    return HadamardUnit(
        kind=kind,
        lanes=lanes,
        stages=stages,
        orders=frozenset(orders),
        parity=parity,
        add=WidthEnergy(energy_pj=quantity(0.1), bits=8),
    )


def toy_hardware(**changes: object) -> Hardware:
    """2 x 2 weight-stationary cells, 1000 bytes of SRAM, round numbers everywhere."""
    values: dict[str, object] = {
        "name": "toy",
        "description": "for hand calculation",
        "node_nm": 45,
        "clock_hz": 1e9,
        "matrix": (matrix_unit(),),
        "hadamard": transform_unit(),
        "vector": VectorUnit(
            lanes=2,
            cycles_per_element=1,
            energy_per_element_pj=quantity(2.0),
            cycles_by_kind={"requantize": 3.0},
        ),
        "on_chip": (memory("sram", 1000, 8),),
        "dram": memory("dram", None, 4, read_pj=10, write_pj=20),
        "static_power_w": quantity(0.001, assumed=True),
    }
    return Hardware(**{**values, **changes})  # type: ignore[arg-type]


def linear(
    name: str = "fc",
    *,
    m: int = 3,
    n: int = 4,
    k: int = 4,
    a_bits: int = 4,
    w_bits: int = 4,
    order: int = 2,
    source: str = "x",
) -> LayerRecord:
    """A linear layer with the single Hadamard of ``order`` (0: none) and a 16-bit output."""
    inverse = HadamardWork(
        kind="sylvester", axis="channel", order=order, blocks=m * k >> order, direction="inverse"
    )
    return LayerRecord(
        name=name,
        op="linear",
        module=name,
        inputs=(TensorUse(name=source, elements=m * k, bits=a_bits),),
        output=TensorUse(name=f"{name}.out", elements=m * n, bits=16),
        weights=TensorUse(name=f"{name}.weight", elements=n * k, bits=w_bits),
        matrix=MatrixWork(
            m=m,
            n=n,
            k=k,
            count=1,
            a_storage_bits=a_bits,
            w_storage_bits=w_bits,
            a_multiplier_bits=a_bits + order,
            w_multiplier_bits=w_bits,
            accumulator_bits=20,
        ),
        hadamard=(inverse,) if order else (),
        vector={"requantize": m * n},
        table_bytes=10.0,
        table_bytes_all_steps=200.0,
        realisation="runtime" if order else None,
    )


def convolution(
    name: str = "conv",
    *,
    channels: int = 2,
    filters: int = 3,
    size: int = 5,
    kernel: int = 3,
    batch: int = 1,
    bits: int = 4,
    source: str = "x",
) -> LayerRecord:
    """A square convolution, padded to keep the size (odd kernels); 16-bit output, no transform."""
    m, k = batch * size * size, kernel * kernel * channels
    conv = ConvWork(
        kernel_h=kernel,
        kernel_w=kernel,
        stride_h=1,
        stride_w=1,
        in_h=size,
        in_w=size,
        out_h=size,
        out_w=size,
        in_channels=channels,
        out_channels=filters,
        groups=1,
        batch=batch,
    )
    return LayerRecord(
        name=name,
        op="conv2d",
        module=name,
        inputs=(TensorUse(name=source, elements=m * channels, bits=bits),),
        output=TensorUse(name=f"{name}.out", elements=m * filters, bits=16),
        weights=TensorUse(name=f"{name}.weight", elements=filters * k, bits=bits),
        matrix=MatrixWork(
            m=m,
            n=filters,
            k=k,
            count=1,
            a_storage_bits=bits,
            w_storage_bits=bits,
            a_multiplier_bits=bits,
            w_multiplier_bits=bits,
            accumulator_bits=20,
            conv=conv,
        ),
        vector={"requantize": m * filters},
    )


def with_variants(record: LayerRecord) -> LayerRecord:
    """A layer of :func:`linear` that may also fold its transform, or run by parity.

    Folded weights are ``order`` bits wider and meet the stored codes; by parity the operand is a bit
    narrower, and a second product takes a bit and a sum of weights per block.
    """
    work = record.matrix
    assert work is not None and record.weights is not None
    order = work.a_multiplier_bits - work.a_storage_bits
    w_bits = work.w_storage_bits + order
    folded = dataclasses.replace(
        work, a_multiplier_bits=work.a_storage_bits, w_storage_bits=w_bits, w_multiplier_bits=w_bits
    )
    halved = dataclasses.replace(work, a_multiplier_bits=work.a_multiplier_bits - 1)
    term = dataclasses.replace(
        work,
        k=work.k >> order,
        a_storage_bits=1,
        a_multiplier_bits=1,
        w_storage_bits=w_bits,
        w_multiplier_bits=w_bits,
    )
    variants = {
        "fold": Variant(
            matrix=folded,
            hadamard=(),
            vector=record.vector,
            table_bytes=record.table_bytes,
            table_bytes_all_steps=record.table_bytes_all_steps,
        ),
        "parity": Variant(
            matrix=halved,
            hadamard=record.hadamard,
            vector=record.vector,
            table_bytes=record.table_bytes + 2.0,
            table_bytes_all_steps=record.table_bytes_all_steps + 40.0,
            parity=ParityTerm(matrix=term, block_sums=True),
        ),
    }
    return record._replace(variants=variants)


def elementwise(
    name: str,
    sources: tuple[str, ...],
    *,
    elements: int = 40,
    bits: int = 8,
    kind: str = "add",
    weight_bytes: int = 0,
) -> LayerRecord:
    """A layer without a product; all its tensors have the same size."""
    weights = TensorUse(name=f"{name}.weight", elements=weight_bytes, bits=8) if weight_bytes else None
    return LayerRecord(
        name=name,
        op=kind,
        module=name,
        inputs=tuple(TensorUse(name=source, elements=elements, bits=bits) for source in sources),
        output=TensorUse(name=name, elements=elements, bits=bits),
        weights=weights,
        vector={kind: elements},
    )
