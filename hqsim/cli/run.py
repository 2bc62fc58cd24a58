"""Run a command line and turn what happened into an exit code."""

from __future__ import annotations

import errno
import gc
import os
import sys
import traceback
from collections.abc import Sequence
from enum import IntEnum

from hqsim.cli.console import report_error
from hqsim.errors import HqsimError, InputError, NumericsError

TRACEBACK_VARIABLE = "HQSIM_TRACEBACK"
_UNUSABLE_PATH = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG)


class ExitCode(IntEnum):
    """What the shell is told."""

    DONE = 0
    INTERNAL_FAULT = 1
    BAD_INPUT = 2
    NUMERICS_FAILED = 3
    INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> None:
    """Run ``hqsim`` with ``arguments`` (those of the process when None) and exit."""
    code = run(sys.argv[1:] if arguments is None else arguments)
    # The process ends: a last search for garbage would take a second after a capture, and free nothing.
    gc.freeze()
    sys.exit(code)


def run(arguments: Sequence[str]) -> int:
    """Run ``hqsim`` with ``arguments`` and return its exit code; errors go to stderr, never upwards."""
    from typer.main import get_command

    from hqsim.cli.app import app

    try:
        get_command(app).main(args=list(arguments), prog_name="hqsim")
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else ExitCode.INTERNAL_FAULT
    except KeyboardInterrupt:
        code = ExitCode.INTERRUPTED
    except Exception as error:
        code = _explain(error)
    else:
        code = ExitCode.DONE
    if code == ExitCode.INTERRUPTED:
        report_error("interrupted")
    return int(code)


def _explain(error: Exception) -> ExitCode:
    """Say on stderr what went wrong, and return the exit code of this kind of error."""
    if os.environ.get(TRACEBACK_VARIABLE, "") not in ("", "0"):
        traceback.print_exception(error)
    if isinstance(error, NumericsError):
        report_error(f"numerics check failed: {error}")
        return ExitCode.NUMERICS_FAILED
    if isinstance(error, InputError):
        report_error(f"error: {error}")
        return ExitCode.BAD_INPUT
    if isinstance(error, OSError) and error.errno in _UNUSABLE_PATH:
        report_error(f"error: {error.filename}: {error.strerror}")
        return ExitCode.BAD_INPUT
    if isinstance(error, HqsimError):
        report_error(f"error: {error}")
        return ExitCode.INTERNAL_FAULT
    report_error(
        f"internal fault: {type(error).__name__}: {error}\n"
        f"This is a bug in hqsim. Run again with {TRACEBACK_VARIABLE}=1 to see where it happened."
    )
    return ExitCode.INTERNAL_FAULT
