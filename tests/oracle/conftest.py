"""What the oracles share: one thread for small calls, tosa-tools, a count of what was not consulted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numba
import pytest

from tests.oracle.tosa import environment
from tests.oracle.tosa.reference import TosaReference

NOT_CONSULTED = "no environment for tosa-tools"


@pytest.fixture(autouse=True, scope="package")
def _one_thread() -> Iterator[None]:
    before = numba.get_num_threads()
    numba.set_num_threads(1)
    yield
    numba.set_num_threads(before)


@pytest.fixture(scope="session")
def tosa(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TosaReference]:
    """The reference model of tosa-tools in an environment of its own, made on first use."""
    try:
        interpreter = environment.python(environment.default_folder())
    except (environment.EnvironmentMissingError, OSError) as problem:
        pytest.skip(f"{NOT_CONSULTED}: {problem}")
    reference = TosaReference(interpreter, tmp_path_factory.mktemp("tosa"))
    yield reference
    reference.close()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say in the summary how many tests had no oracle, and why."""
    reasons = Counter(
        report.longrepr[2]
        for report in terminalreporter.getreports("skipped")
        if isinstance(report.longrepr, tuple) and NOT_CONSULTED in report.longrepr[2]
    )
    for reason, count in reasons.items():
        terminalreporter.write_sep("=", "oracle not consulted", yellow=True, bold=True)
        terminalreporter.write_line(f"{count} tests against tosa-tools were skipped. {reason}")
