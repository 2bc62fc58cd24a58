"""Tasks that threads share; results do not depend on the number of threads."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numba
import numpy as np
import pytest

from hqsim.kernels.threads import part_of, share, team_size
from tests.kernels.calls import make_calls

SCALE = 13


@numba.njit
def _note(worker, threads, seen, weight):
    seen[worker] += 1
    return weight * (worker + threads)


@numba.njit
def _note_silently(worker, threads, seen):
    seen[worker] += 1


@numba.njit
def _fail(worker, threads, bad):
    if worker == bad:
        raise ValueError("this worker fails")


@numba.njit
def _share_note(threads, seen, weight):
    return share(_note, threads, (seen, weight))


@numba.njit
def _share_silently(threads, seen):
    return share(_note_silently, threads, (seen,))


@numba.njit
def _share_fail(threads, bad):
    return share(_fail, threads, (bad,))


@numba.njit
def _team_size():
    return team_size()


@pytest.fixture(autouse=True)
def _restore_threads() -> Iterator[None]:
    before = numba.get_num_threads()
    yield
    numba.set_num_threads(before)


def outcome(result: Any, arguments: tuple[Any, ...]) -> tuple[Any, list[bytes]]:
    """What a call gives: its numbers, and the bytes of every array."""
    return result, [argument.tobytes() for argument in arguments if isinstance(argument, np.ndarray)]


@pytest.mark.parametrize("threads", [1, 2, 3, 50])
def test_every_worker_runs_once_and_the_counts_are_added(threads: int) -> None:
    seen = np.zeros(threads + 1, np.int64)
    total = _share_note(threads, seen, 10)
    assert seen.tolist() == [1] * threads + [0]
    assert total == 10 * sum(worker + threads for worker in range(threads))
    assert _share_silently(threads, seen) == 0
    assert seen.tolist() == [2] * threads + [0]


@pytest.mark.parametrize("bad", [0, 1, 6])
def test_what_a_task_raises_arrives(bad: int) -> None:
    with pytest.raises(ValueError, match=r"^this worker fails$"):
        _share_fail(7, bad)
    assert _share_fail(7, 7) == 0


def test_the_team_is_what_numba_allows() -> None:
    numba.set_num_threads(1)
    assert _team_size() == 1


@pytest.mark.parametrize("units", [0, 1, 5, 64, 1001])
@pytest.mark.parametrize("threads", [1, 2, 3, 7])
def test_parts_follow_each_other_and_differ_by_one_at_most(threads: int, units: int) -> None:
    parts = [part_of(worker, threads, units) for worker in range(threads)]
    edges = [parts[0][0], *(end for _, end in parts)]
    assert (edges[0], edges[-1]) == (0, units)
    assert [begin for begin, _ in parts] == edges[:-1]
    assert set(np.diff(edges)) <= {units // threads, -(-units // threads)}


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="without the compiler there are no threads")
@pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason="this machine gives numba one thread")
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
