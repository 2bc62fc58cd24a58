"""The command line: one file per verb, and one place (``run``) that turns errors into exit codes."""

from hqsim.cli.run import main

__all__ = ["main"]
