"""Bit operations of layers worked out by hand."""

from hqsim.analysis.bit_operations import bit_operations
from hqsim.graph import HadamardWork, LayerRecord, MatrixWork, TensorUse

OUT = TensorUse(name="out", elements=1, bits=16)


def _product(name, macs, stored, multiplied, hadamard=()):
    work = MatrixWork(
        m=macs, n=1, k=1, count=1, a_storage_bits=stored, w_storage_bits=4,
        a_multiplier_bits=multiplied, w_multiplier_bits=4, accumulator_bits=32,
    )  # fmt: skip
    return LayerRecord(
        name=name, op="linear", module=name, inputs=(), output=OUT, matrix=work, hadamard=hadamard
    )


def test_bit_operations_count_what_the_multiplier_sees():
    blocks = HadamardWork(kind="single", axis="channel", order=3, blocks=5, direction="forward")
    records = [
        _product("first", 10, 8, 11),
        _product("middle", 100, 4, 7, (blocks,)),
        LayerRecord(name="silu", op="silu", module="silu", inputs=(), output=OUT),
    ]
    found = bit_operations(records)
    assert found.bit_operations == 10 * 11 * 4 + 100 * 7 * 4
    assert found.stored_bit_operations == 10 * 8 * 4 + 100 * 4 * 4
    assert (found.multiplier_bits, found.widest_bits, found.widest_layers) == (7, 11, ("first",))
    assert found.butterfly_adds == 5 * 3 * 8


def test_the_single_hadamard_costs_its_order_in_multiplier_bits():
    """hqdm-channel at W4A4: 4 + 3 bits in most products, as NUMERICS.md says."""
    from hqsim.analysis.estimate import records_of

    found = bit_operations(
        records_of("digits", recipe="hqdm-channel-w4a4", batch=1, guidance=1.0, steps=20)
    )  # fmt: skip
    assert found.multiplier_bits == 7
    assert found.bit_operations > found.stored_bit_operations
