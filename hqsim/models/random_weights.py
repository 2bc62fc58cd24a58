"""Random weights of published architectures: made from a seed when they are read, one tensor at a time."""

from __future__ import annotations

import hashlib
import math
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hqsim.models.architecture import Parameter

SEED = 0


@dataclass(frozen=True)
class _Uniform:
    """Independent values in ``centre ± reach``."""

    shape: tuple[int, ...]
    centre: float
    reach: float


class RandomParameters(Mapping[str, np.ndarray]):
    """Float32 parameters by name; each has a generator of its own and is made anew when it is read.

    Products keep the variance of their input (``reach = sqrt(3 / inputs)``), gains lie around 1, no layer is
    zero: what a trained model starts at zero would let nothing pass.

    Parameters
    ----------
    parameters
        Shapes and roles; buffers are left out.
    tables
        Shapes of further tables by name.
    constants
        Arrays that are not random.
    """

    def __init__(
        self,
        parameters: Mapping[str, Parameter],
        *,
        tables: Mapping[str, Sequence[int]],
        constants: Mapping[str, np.ndarray],
    ) -> None:
        self._constants = constants
        self._laws = {name: _Uniform(tuple(shape), 0.0, 1.0) for name, shape in tables.items()}
        for name, parameter in parameters.items():
            if parameter.role != "buffer":
                self._laws[name] = _law(parameter)

    def __getitem__(self, name: str) -> np.ndarray:
        if name in self._constants:
            return self._constants[name]
        law = self._laws[name]
        values = np.random.default_rng([SEED, zlib.crc32(name.encode())]).random(law.shape, np.float32)
        values -= np.float32(0.5)
        values *= np.float32(2.0 * law.reach)
        values += np.float32(law.centre)
        return values

    def __iter__(self) -> Iterator[str]:
        yield from (*self._laws, *self._constants)

    def __len__(self) -> int:
        return len(self._laws) + len(self._constants)

    @property
    def digest(self) -> str:
        """Sha256 of what decides the values: seed, names, shapes and ranges."""
        return hashlib.sha256(repr((SEED, sorted(self._laws.items()))).encode()).hexdigest()


def _law(parameter: Parameter) -> _Uniform:
    shape = parameter.shape
    if parameter.role == "bias":
        return _Uniform(shape, 0.0, 0.1)
    if parameter.role == "norm":
        return _Uniform(shape, 1.0, 0.2)
    if parameter.role == "embedding":
        return _Uniform(shape, 0.0, 1.0)
    return _Uniform(shape, 0.0, math.sqrt(3.0 / math.prod(shape[1:])))
