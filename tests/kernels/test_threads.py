"""Results do not depend on the number of threads."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numba
import numpy as np
import pytest

from tests.kernels.calls import make_calls

pytestmark = [
    pytest.mark.skipif(numba.config.DISABLE_JIT, reason="without the compiler there are no threads"),
    pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason="this machine gives numba one thread"),
]
SCALE = 13


@pytest.fixture(autouse=True)
def _restore_threads() -> Iterator[None]:
    before = numba.get_num_threads()
    yield
    numba.set_num_threads(before)


def outcome(result: Any, arguments: tuple[Any, ...]) -> tuple[Any, list[bytes]]:
    """What a call gives: its numbers, and the bytes of every array."""
    return result, [argument.tobytes() for argument in arguments if isinstance(argument, np.ndarray)]


@pytest.mark.parametrize("name", list(make_calls(1)))
def test_one_and_two_threads_agree(name: str) -> None:
    results = []
    for threads in (1, 2, 2):
        kernel, arguments = make_calls(SCALE)[name]
        before = outcome(None, arguments)
        numba.set_num_threads(threads)
        results.append(outcome(kernel(*arguments), arguments))
    assert results[0] == results[1] == results[2]
    assert results[0][1] != before[1]
