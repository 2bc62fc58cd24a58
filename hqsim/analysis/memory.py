"""Freed memory goes back to the system.

glibc keeps the holes that tensors of many sizes leave in its heap: a walk through a large model then seems to
need several times what it holds.
"""

from __future__ import annotations

import ctypes
import sys
from functools import cache
from typing import Any


def release_freed() -> None:
    """Hand back what was freed, where the C library knows how; milliseconds, so not after every layer."""
    trim = _malloc_trim()
    if trim is not None:
        trim(0)


@cache
def _malloc_trim() -> Any:
    return getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
