"""The numerics contract: rounding, dyadic scales, formats, Hadamard algebra, accumulator bounds."""

from hqsim.numerics.accumulator import AccumulatorBound, accumulator_bound, signed_bits
from hqsim.numerics.dyadic import Dyadic, dyadic, dyadic_value, snap
from hqsim.numerics.formats import Format
from hqsim.numerics.hadamard import Transform, block_order, block_signs, operand_range, sylvester
from hqsim.numerics.rounding import round_half_up, shift_round_half_up

__all__ = [
    "AccumulatorBound",
    "Dyadic",
    "Format",
    "Transform",
    "accumulator_bound",
    "block_order",
    "block_signs",
    "dyadic",
    "dyadic_value",
    "operand_range",
    "round_half_up",
    "shift_round_half_up",
    "signed_bits",
    "snap",
    "sylvester",
]
