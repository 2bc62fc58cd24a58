"""Quantized weights as an artefact and every executor hold them: packed, unpacked where they are used."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from hqsim.errors import InputError
from hqsim.io import pack_codes, packed_size_bytes, unpack_codes


@dataclass(frozen=True)
class WeightCodes:
    """A quantized weight of ``shape``: ``packed`` codes uint8, float64 ``scales`` ``[outputs, segments]``.

    The real weight of output ``c`` is ``scales[c, g]`` times its codes in segment ``g`` of the reduction
    axis (``hqsim/ops/segments.py``); one segment is one scale per output channel.
    """

    packed: np.ndarray
    shape: tuple[int, ...]
    scales: np.ndarray
    bits: int

    def __post_init__(self) -> None:
        count = math.prod(self.shape)
        expected = packed_size_bytes(count, self.bits)
        if self.packed.size != expected:
            raise InputError(
                f"{count} codes of {self.bits} bits (shape {self.shape}) take {expected} bytes, "
                f"not {self.packed.size}"
            )

    @classmethod
    def of(cls, codes: np.ndarray, scales: np.ndarray, bits: int) -> WeightCodes:
        """Pack int8 ``codes``; ``scales`` ``[outputs]`` means one segment."""
        return cls(pack_codes(codes, bits), codes.shape, scales.reshape(len(codes), -1), bits)

    @property
    def codes(self) -> np.ndarray:
        """The int8 codes, unpacked anew at every call."""
        return unpack_codes(self.packed, self.bits, self.shape)
