"""Every numba decorator of hqsim, and the place of its compilation cache.

``cache=True`` alone misses changes in functions that are imported from another file, so the cache
folder is named by a hash of all kernel sources: a changed kernel is never served from an old cache.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import llvmlite.binding
import numba

F = TypeVar("F", bound=Callable)


def _cache_folder(sources: Path) -> Path:
    digest = hashlib.sha256()
    for source in sorted(sources.glob("*.py")):
        digest.update(source.name.encode())
        digest.update(source.read_bytes())
    home = os.environ.get("HQSIM_CACHE_DIR") or os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "hqsim" / f"numba-{digest.hexdigest()[:16]}"


if not numba.config.CPU_NAME and numba.config.CPU_FEATURES is None:
    # LLVM avoids 512-bit vectors on server CPUs, for code that uses them rarely; kernels use little else.
    features = llvmlite.binding.get_host_cpu_features()
    if features.get("avx512f"):
        numba.config.CPU_FEATURES = features.flatten() + ",-prefer-256-bit"

if "NUMBA_CACHE_DIR" not in os.environ:
    numba.config.CACHE_DIR = str(_cache_folder(Path(__file__).parent))

KERNELS: list[Callable] = []
# Kernels never divide by zero; Python's checks for it only cost time.
_OPTIONS: dict[str, Any] = {"cache": True, "nogil": True, "error_model": "numpy"}


def thread_count() -> int:
    """Return how many threads kernels may use now."""
    return int(numba.get_num_threads())


def kernel(function: F) -> Callable[..., Any]:
    """Compile a public kernel: cached, without the interpreter lock."""
    compiled: Callable[..., Any] = numba.njit(**_OPTIONS)(function)
    KERNELS.append(compiled)
    return compiled


def helper(function: F) -> F:
    """Compile a function that kernels call (inlined by LLVM where it pays)."""
    compiled = numba.njit(**_OPTIONS)(function)
    KERNELS.append(compiled)
    return compiled
