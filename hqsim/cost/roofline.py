"""The roofline (Williams et al., CACM 2009): what peak rate and bandwidth allow at an intensity."""

from __future__ import annotations


def attainable_macs_per_s(macs_per_byte: float, *, peak_macs_per_s: float, bytes_per_s: float) -> float:
    """Return ``min(peak, intensity * bandwidth)``."""
    return min(peak_macs_per_s, macs_per_byte * bytes_per_s)


def ridge_macs_per_byte(*, peak_macs_per_s: float, bytes_per_s: float) -> float:
    """Return the intensity from which on the peak binds, not the bandwidth."""
    return peak_macs_per_s / bytes_per_s
