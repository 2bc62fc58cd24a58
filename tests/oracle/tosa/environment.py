"""The environment of tosa-tools, which wants another numpy than hqsim: a place of its own."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

REQUIREMENTS = Path(__file__).with_name("requirements.txt")


class EnvironmentMissingError(Exception):
    """The environment could not be made; the message is the last line that the failing command wrote."""


def default_folder() -> Path:
    """Return ``HQSIM_TOSA_ENV``, or a cache folder named by the requirements and the version of Python."""
    if named := os.environ.get("HQSIM_TOSA_ENV"):
        return Path(named)
    digest = hashlib.sha256(REQUIREMENTS.read_bytes() + sys.version.encode()).hexdigest()[:16]
    home = os.environ.get("HQSIM_CACHE_DIR") or os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "hqsim" / f"tosa-{digest}"


def python(folder: Path) -> Path:
    """Return the interpreter of the environment in ``folder``; make the environment when it is not there.

    It is built beside ``folder`` and moved there when it is complete, so what is there can be used.

    Raises
    ------
    EnvironmentMissingError
        When a command fails, for instance because there is no network.
    """
    interpreter = folder / "bin" / "python"
    if not interpreter.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        building = Path(tempfile.mkdtemp(prefix=f"{folder.name}-", dir=folder.parent))
        try:
            _run("making it", sys.executable, "-m", "venv", building)
            options = ["--only-binary=:all:", "--retries", "1", "--timeout", "10", "-r", REQUIREMENTS]
            _run("pip install", building / "bin" / "python", "-m", "pip", "-q", "install", *options)
            building.replace(folder)
        finally:
            shutil.rmtree(building, ignore_errors=True)
    return interpreter


def _run(step: str, *command: str | Path) -> None:
    environment = os.environ | {"PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()[-1]
        raise EnvironmentMissingError(f"{step} failed: {last}")
