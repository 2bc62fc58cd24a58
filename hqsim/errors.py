"""The errors of hqsim: few kinds, each with a message that says what, where, got, allowed and how to fix."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class HqsimError(Exception):
    """Base of every error that hqsim raises on purpose."""


class InputError(HqsimError):
    """Bad input: an unknown name, a malformed file, an impossible setting (exit code 2)."""


class UnsupportedError(InputError):
    """Valid input that hqsim cannot handle: an operator, a width, a layer that fits nowhere (exit code 2)."""


class NumericsError(HqsimError):
    """A numerics check failed: a mismatch, a non-finite value, a bound that does not hold (exit code 3)."""


def unknown_name(kind: str, name: str, known: Iterable[str]) -> InputError:
    """Return the error for an unknown ``name``, with the nearest known one suggested."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"; did you mean '{near[0]}'?" if near else ""
    return InputError(f"unknown {kind} '{name}'{hint} Known: {', '.join(names)}.")
