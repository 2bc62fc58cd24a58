"""Results do not depend on the number of threads."""

from __future__ import annotations

from collections.abc import Iterator

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


@pytest.mark.parametrize("name", list(make_calls(1)))
def test_one_and_two_threads_agree(name: str) -> None:
    results = []
    for threads in (1, 2, 2):
        kernel, arguments = make_calls(SCALE)[name]
        numba.set_num_threads(threads)
        saturated = kernel(*arguments)
        results.append((saturated, arguments[-1].tobytes()))
    assert results[0] == results[1] == results[2]
    assert not np.all(arguments[-1] == 99)
