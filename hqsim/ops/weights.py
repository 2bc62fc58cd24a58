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
    axis (``hqsim/ops/segments.py``); one segment is one scale per output channel. Scales that change with the
    timestep are ``[entries, outputs, segments]``: the codes stay the same.
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
        if self.scales.ndim not in (2, 3) or self.scales.shape[-2] != self.shape[0]:
            raise InputError(
                f"scales of a weight of shape {self.shape}: got shape {self.scales.shape}, allowed "
                f"({self.shape[0]}, segments), and (entries, {self.shape[0]}, segments) where they change "
                "with the timestep"
            )

    @classmethod
    def of(cls, codes: np.ndarray, scales: np.ndarray, bits: int) -> WeightCodes:
        """Pack int8 ``codes``; ``scales`` ``[outputs]`` means one segment."""
        scales = scales[:, None] if scales.ndim == 1 else scales
        return cls(pack_codes(codes, bits), codes.shape, scales, bits)

    @property
    def codes(self) -> np.ndarray:
        """The int8 codes, unpacked anew at every call."""
        return unpack_codes(self.packed, self.bits, self.shape)

    @property
    def scale_table(self) -> np.ndarray:
        """The scales ``[entries, outputs, segments]``; static ones have a single entry."""
        return self.scales if self.scales.ndim == 3 else self.scales[None]

    def scales_at(self, entry: int) -> np.ndarray:
        """Return the scales ``[outputs, segments]`` at one entry of the timestep tables."""
        table = self.scale_table
        scales: np.ndarray = table[min(entry, len(table) - 1)]
        return scales
