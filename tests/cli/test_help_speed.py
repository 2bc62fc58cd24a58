"""``hqsim --help`` answers at once: no torch, no numba, no pandas."""

import os
import subprocess
import sys

import pytest

SCRIPT = """
import sys
from hqsim.cli.run import run
code = run(sys.argv[1:])
heavy = sorted({"torch", "numba", "pandas", "matplotlib", "diffusers"} & set(sys.modules))
print("loaded:", *heavy, file=sys.stderr)
sys.exit(code)
"""


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["estimate", "--help"], ["verify", "x"]])
def test_light_answers_load_nothing_heavy(arguments):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == (2 if "x" in arguments else 0)
    assert done.stderr.splitlines()[-1] == "loaded:"


def test_help_takes_less_than_a_second():
    """The best of three, in processor time of the child: other work on the machine does not count."""
    times = []
    for _ in range(3):
        before = os.times()
        subprocess.run([sys.executable, "-m", "hqsim", "--help"], capture_output=True, check=True)
        after = os.times()
        times.append(
            after.children_user + after.children_system - before.children_user - before.children_system
        )
    assert min(times) < 1.0
