"""Small machines and records for the cost tests."""

from __future__ import annotations

from hqsim.cost.machine import (
    HadamardUnit,
    Hardware,
    MatrixUnit,
    MemoryLevel,
    MultiplyEnergy,
    Quantity,
    VectorUnit,
    WidthEnergy,
)
from hqsim.graph.record import HadamardWork, LayerRecord, MatrixWork, TensorUse


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
) -> MemoryLevel:
    return MemoryLevel(
        name=name,
        size_bytes=size_bytes,
        bytes_per_cycle=bytes_per_cycle,
        read_pj_per_byte=quantity(read_pj),
        write_pj_per_byte=quantity(write_pj),
        double_buffered=double_buffered,
    )


def matrix_unit(**changes: object) -> MatrixUnit:
    values: dict[str, object] = {
        "rows": 2,
        "cols": 2,
        "arrays": 1,
        "dataflow": "ws",
        "native_bits": ((8, 8),),
        "other_widths": "passes",
        "accumulator_bits": 32,
        "multiply": MultiplyEnergy(energy_pj=quantity(1.0), a_bits=8, w_bits=8),
        "add": WidthEnergy(energy_pj=quantity(0.5), bits=32),
        "register_pj_per_bit": quantity(0.01),
    }
    return MatrixUnit(**{**values, **changes})  # type: ignore[arg-type]


def toy_hardware(**changes: object) -> Hardware:
    """2 x 2 weight-stationary cells, 1000 bytes of SRAM, round numbers everywhere."""
    values: dict[str, object] = {
        "name": "toy",
        "description": "for hand calculation",
        "node_nm": 45,
        "clock_hz": 1e9,
        "matrix": matrix_unit(),
        "hadamard": HadamardUnit(
            kind="butterfly", adds_per_cycle=4, add=WidthEnergy(energy_pj=quantity(0.1), bits=8)
        ),
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
    )


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
