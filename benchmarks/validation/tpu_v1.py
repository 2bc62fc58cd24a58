"""TPU v1's published roofline and six applications (Jouppi et al., ISCA 2017, tables 1 and 3, figure 5).

The paper counts an intensity as MACs per byte of weight, and TOPS as two operations per MAC. The roofline
is an upper bound: what is below it the paper explains by waits for weights, for input data, and by matrices
that fill the 256 x 256 array badly (LSTM1, CNN1).
"""

from __future__ import annotations

import pandas as pd

from benchmarks.validation import show, with_errors
from hqsim.cost.geometry import Systolic
from hqsim.cost.roofline import attainable_macs_per_s, ridge_macs_per_byte

TPU_V1 = Systolic(rows=256, cols=256, dataflow="ws")
CLOCK_HZ, BYTES_PER_S = 700e6, 34e9
#: MACs per byte of weight, and measured TOPS.
APPLICATIONS = {
    "MLP0": (200, 12.3),
    "MLP1": (168, 9.7),
    "LSTM0": (64, 3.7),
    "LSTM1": (96, 2.8),
    "CNN0": (2888, 86.0),
    "CNN1": (1750, 14.1),
}


def compare() -> pd.DataFrame:
    """Return peak and ridge, then one row per application."""
    peak = TPU_V1.cells * CLOCK_HZ
    ridge = ridge_macs_per_byte(peak_macs_per_s=peak, bytes_per_s=BYTES_PER_S)
    rows = [
        {"quantity": "peak TOPS", "published": 92.0, "modelled": 2 * peak / 1e12},
        {"quantity": "ridge, MACs per byte", "published": 1350.0, "modelled": ridge},
    ]
    for name, (intensity, tops) in APPLICATIONS.items():
        bound = attainable_macs_per_s(intensity, peak_macs_per_s=peak, bytes_per_s=BYTES_PER_S)
        rows.append({"quantity": f"{name} TOPS", "published": tops, "modelled": 2 * bound / 1e12})
    return with_errors(rows)


if __name__ == "__main__":
    show(compare())
