"""Properties of every operator's integer form: random nodes and options, extreme codes."""

from __future__ import annotations

from dataclasses import replace

import numba
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tests.property.layers  # noqa: F401  (registers the products)
from hqsim.ops import OPERATORS, Multiply
from tests.property.cases import BATCH, CASES, ENTRIES, Case

SMALL, LARGE = 5, 40
NOT_RUN = {"input"}
"""The executor puts the inputs in place itself."""
LENIENT = [HealthCheck.too_slow, HealthCheck.data_too_large]


def run(case: Case) -> tuple[bytes, int]:
    """Codes and saturation count of the integer form."""
    arrays = case.packed_arrays()
    codes, saturated = OPERATORS[case.node.op].integer(case.node, arrays, case.inputs, case.output)
    return codes.tobytes(), saturated


def test_every_operator_has_cases() -> None:
    """A new operator needs a strategy here."""
    assert set(CASES) == set(OPERATORS) - NOT_RUN


@pytest.mark.parametrize("op", CASES)
@given(st.data())
@settings(max_examples=150, suppress_health_check=LENIENT)
def test_integer_equals_exact(op: str, data: st.DataObject) -> None:
    """Codes and saturation counts; of products the sums, their range and the events of accumulators too."""
    case = data.draw(CASES[op](SMALL))
    operator = OPERATORS[op]
    for entry in range(ENTRIES):
        arrays, packed = case.exact_arrays(entry), case.packed_arrays(entry)
        exact, exact_saturated = operator.exact(case.node, arrays, case.inputs, case.output)
        codes, saturated = operator.integer(case.node, packed, case.inputs, case.output)
        assert codes.shape == exact.shape == (BATCH, *case.node.type.shape)
        assert codes.dtype == exact.dtype == case.output.dtype
        assert np.array_equal(codes, exact)
        assert saturated == exact_saturated
        assert codes.min(initial=0) >= case.output.low
        assert codes.max(initial=0) <= case.output.high
        if isinstance(operator, Multiply):
            exact_sums, exact_events = operator.sums_exact(case.node, arrays, case.inputs)
            sums, events = operator.sums_integer(case.node, arrays, case.inputs)
            assert np.array_equal(sums, exact_sums)
            assert events == exact_events
            found = operator.finished(case.node, packed, case.inputs, case.output)
            assert (found.lowest, found.highest) == (exact_sums.min(), exact_sums.max())
            assert found.events == exact_events


@pytest.mark.parametrize("op", CASES)
@given(st.data())
@settings(max_examples=20, suppress_health_check=LENIENT)
def test_memory_layout_does_not_matter(op: str, data: st.DataObject) -> None:
    """Inputs with the channels last in memory, strided, or a slice of rows, give the same codes."""
    case = data.draw(CASES[op](SMALL))
    last = tuple(
        np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1) if x.ndim > 1 else x
        for x in case.inputs
    )
    strided = tuple(np.repeat(x, 2, axis=-1)[..., ::2] for x in case.inputs)
    sliced = tuple(np.concatenate([x, x], axis=-1)[..., : x.shape[-1]] for x in case.inputs)
    expected = run(case)
    for inputs in (last, strided, sliced, (sliced[0], *case.inputs[1:])):
        assert run(replace(case, inputs=inputs)) == expected


@pytest.mark.parametrize("op", CASES)
@given(st.data())
@settings(max_examples=20, suppress_health_check=LENIENT)
def test_samples_do_not_meet(op: str, data: st.DataObject) -> None:
    """A batch gives what its samples give one by one."""
    case = data.draw(CASES[op](SMALL))
    parts = [
        run(replace(case, inputs=tuple(x[sample : sample + 1] for x in case.inputs)))
        for sample in range(BATCH)
    ]
    assert run(case) == (b"".join(codes for codes, _ in parts), sum(count for _, count in parts))


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="without the compiler there are no threads")
@pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason="this machine gives numba one thread")
@pytest.mark.parametrize("op", CASES)
@given(st.data())
@settings(max_examples=30, suppress_health_check=LENIENT)
def test_one_and_two_threads_agree(op: str, data: st.DataObject) -> None:
    case = data.draw(CASES[op](LARGE))
    results = []
    for threads in (1, 2, 2):
        numba.set_num_threads(threads)
        results.append(run(case))
    numba.set_num_threads(1)
    assert results[0] == results[1] == results[2]
