"""One thread for the many tiny calls: on a busy machine each would wait for the other thread to be scheduled.

That results do not depend on threads is the business of tests/kernels/test_threads.py.
"""

from __future__ import annotations

from collections.abc import Iterator

import numba
import pytest


@pytest.fixture(autouse=True, scope="package")
def _one_thread() -> Iterator[None]:
    before = numba.get_num_threads()
    numba.set_num_threads(1)
    yield
    numba.set_num_threads(before)
