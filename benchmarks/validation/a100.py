"""Half-precision products on an A100 80 GB: 20 measured shapes (``tests/data/measured_a100_matmul.csv``).

time = launch + max(tensor cores, L2, DRAM), with NVIDIA's figures (A100 white paper and data sheet): 108
multiprocessors of 1024 MACs per cycle at 1.41 GHz, 5120 bytes per cycle of L2, 2.039 TB/s. The smallest
measured product would need 1.59 TB/s, more than the 1.555 TB/s of the 40 GB card. The launch time of 21 us
is what LLMCompass, where the measurements come from, states for this card; the second table has it fitted
to these measurements.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from benchmarks.validation import DATA, show, with_errors
from hqsim.cost.geometry import TensorCore
from hqsim.cost.units.tensor_core import run_tensor_core
from hqsim.graph.record import MatrixWork

CLOCK_HZ, L2_BYTES_PER_CYCLE, DRAM_BYTES_PER_S = 1.41e9, 5120, 2.039e12
WORD_BYTES, LAUNCH_S = 2, 21e-6
A100 = TensorCore(
    units=108,
    macs_per_cycle=1024,
    tile_m=128,
    tile_n=256,
    tile_k=32,
    macs_per_word=108 * 1024 * WORD_BYTES / L2_BYTES_PER_CYCLE,
)


def matmul_seconds(m: int, n: int, k: int) -> float:
    """Return the time of ``[m, k] x [k, n]`` without the launch."""
    work = MatrixWork(
        m=m,
        n=n,
        k=k,
        count=1,
        a_storage_bits=16,
        w_storage_bits=16,
        a_multiplier_bits=16,
        w_multiplier_bits=16,
        accumulator_bits=32,
    )
    run = run_tensor_core(A100, work, rate=1.0)
    l2_cycles = (run.a_reads + run.w_reads + m * n) * WORD_BYTES / L2_BYTES_PER_CYCLE
    dram_s = (m * k + k * n + m * n) * WORD_BYTES / DRAM_BYTES_PER_S
    return max(run.cycles / CLOCK_HZ, l2_cycles / CLOCK_HZ, dram_s)


def compare(launch_s: float = LAUNCH_S) -> pd.DataFrame:
    """Return one row per measured product, milliseconds."""
    rows = [
        {
            "m": row["M"],
            "k": row["K"],
            "n": row["N"],
            "published": row["latency_ms"],
            "modelled": 1e3 * (launch_s + matmul_seconds(row["M"], row["N"], row["K"])),
        }
        for row in pd.read_csv(DATA / "measured_a100_matmul.csv").to_dict("records")
    ]
    return with_errors(rows)


def fitted_launch_s() -> float:
    """Return the launch time, in whole microseconds, of least mean error on these measurements."""
    candidates = np.arange(0, 60) * 1e-6
    means = [compare(launch_s)["error_percent"].abs().mean() for launch_s in candidates]
    return float(candidates[int(np.argmin(means))])


if __name__ == "__main__":
    show(compare())
    fitted = fitted_launch_s()
    print(f"\nLaunch fitted to these measurements: {fitted * 1e6:.0f} us")
    show(compare(fitted))
