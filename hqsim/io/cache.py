"""Where hqsim keeps what it can make again."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """Return ``hqsim`` in ``$HQSIM_CACHE_DIR``, ``$XDG_CACHE_HOME`` or ``~/.cache``; it need not exist."""
    home = os.environ.get("HQSIM_CACHE_DIR") or os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "hqsim"
