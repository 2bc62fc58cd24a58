"""How fast estimates are: one of LDM-4, and a thousand design points, array size x buffer x bits.

``python benchmarks/design_sweep.py [--out points.csv]``. The machine is the edge NPU with another array, a
transform and a vector unit as wide, a buffer at the array that keeps up with it, and another SRAM whose
energy is CACTI's for its size. Layer records are made once per recipe; two processes share the recipes.
Single estimates are the first ones of a fresh process, the median of five.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hqsim.cost import Hardware, load_hardware
from hqsim.cost.geometry import Systolic
from hqsim.cost.machine import Quantity

if TYPE_CHECKING:
    import pandas as pd

MODEL, RECIPE, PLAIN = "ldm4-imagenet", "hqdm-w4a4", "ptq-w8a8"
BASE, BASE_SIDE, OTHER = "edge-npu-16x16", 16, "tpu-v4i"
SIDES = (4, 8, 12, 16, 20, 24, 32, 40, 48, 64, 96, 128)
SRAM_PJ_PER_BYTE = {
    64: (1.619, 2.070),
    128: (2.305, 2.756),
    256: (3.894, 3.689),
    512: (5.247, 5.042),
    1024: (7.871, 7.665),
    2048: (11.061, 9.542),
    4096: (16.304, 14.764),
    8192: (23.680, 23.292),
}
"""KiB: energy per byte read and written; CACTI (hwcomponents-cacti 1.0.40), 45 nm, 256-bit port."""
RECIPES = tuple(
    f"{method}-w{w}a{a}"
    for method, (w, a) in product(("ptq", "hqdm"), ((8, 8), (6, 6), (4, 8), (4, 6), (4, 4), (3, 4)))
)
WORKERS, FRESH_PROCESSES = 2, 5


def machine_at(base: Hardware, side: int, sram_kib: int) -> Hardware:
    """Return the edge NPU with ``side`` x ``side`` cells and an SRAM of ``sram_kib``."""
    (unit,), (buffer, sram) = base.matrix, base.on_chip
    assert base.hadamard is not None
    read_pj, write_pj = SRAM_PJ_PER_BYTE[sram_kib]
    geometry = Systolic(rows=side, cols=side, arrays=1, dataflow="ws")
    return replace(
        base,
        name=f"{side} x {side}, {sram_kib} KiB",
        matrix=(replace(unit, geometry=geometry),),
        hadamard=replace(base.hadamard, lanes=side),
        vector=replace(base.vector, lanes=side),
        on_chip=(
            replace(buffer, bytes_per_cycle=buffer.bytes_per_cycle * side / BASE_SIDE),
            replace(
                sram,
                size_bytes=sram_kib * 1024,
                read_pj_per_byte=Quantity(value=read_pj),
                write_pj_per_byte=Quantity(value=write_pj),
            ),
        ),
    )


def points_of(recipe: str) -> list[dict[str, Any]]:
    """Estimate every machine under one recipe; a row each."""
    return list(_points(recipe))


def _points(recipe: str) -> Iterator[dict[str, Any]]:
    from hqsim.analysis.estimate import records_of
    from hqsim.cost import Workload, estimate_records

    work = Workload(tuple(records_of(MODEL, recipe=recipe, batch=1, guidance=None, steps=20)))
    base = load_hardware(BASE)
    for side, sram_kib in product(SIDES, SRAM_PJ_PER_BYTE):
        total = estimate_records(work, machine_at(base, side, sram_kib)).total
        yield {
            "recipe": recipe,
            "side": side,
            "sram_kib": sram_kib,
            "latency_s": total["latency_s"],
            "energy_j": total["energy_pj"]["total"] / 1e12,
            "dram_bytes": total["dram_bytes"],
            "utilization": total["utilization"],
            "bound_by": total["bound_by"],
        }


def first_estimates_ms(_: int = 0) -> dict[str, float]:
    """Return the time of this process' first estimates, by what is at hand; the captured graph always is."""
    import hqsim
    from hqsim.analysis.estimate import records_of
    from hqsim.cost import estimate_records

    model, machine = hqsim.load_model(MODEL, weights=False), load_hardware(BASE)
    with _timed() as records_ms:
        records = records_of(model, recipe=RECIPE, batch=1, guidance=None, steps=20)
    with _timed() as prices_ms:
        estimate_records(records, machine)
    hqsim.estimate(MODEL, BASE, recipe=RECIPE)
    with _timed() as next_ms:
        hqsim.estimate(MODEL, OTHER, recipe=RECIPE)
    with _timed() as recipe_ms:
        hqsim.estimate(MODEL, BASE, recipe=PLAIN)
    return {
        "records, from the captured graph and the recipe": records_ms[0],
        "estimate, its records at hand": prices_ms[0],
        f"hqsim.estimate, the next machine ({OTHER})": next_ms[0],
        f"hqsim.estimate, the next recipe ({PLAIN})": recipe_ms[0],
    }


@contextmanager
def _timed() -> Iterator[list[float]]:
    """Give a list that holds the milliseconds of the block once it ends."""
    found: list[float] = []
    start = time.perf_counter()
    yield found
    found.append(1e3 * (time.perf_counter() - start))


def fresh_estimates_ms() -> dict[str, float]:
    """Return the medians of :func:`first_estimates_ms` over fresh processes, one after the other."""
    context = get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context, max_tasks_per_child=1) as pool:
        rows = list(pool.map(first_estimates_ms, range(FRESH_PROCESSES)))
    return {name: statistics.median(row[name] for row in rows) for name in rows[0]}


def sweep() -> pd.DataFrame:
    """Return all points, one row each."""
    import pandas as pd

    with ProcessPoolExecutor(WORKERS) as pool:
        rows = [row for rows in pool.map(points_of, RECIPES) for row in rows]
    return pd.DataFrame(rows)


def main() -> None:
    """Sweep, say how long it took and print the least energy-delay product of every recipe."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, help="CSV file for all points")
    out = parser.parse_args().out
    print(f"{MODEL}, {RECIPE}, {BASE}, first in a process:")
    for name, milliseconds in fresh_estimates_ms().items():
        print(f"{milliseconds:6.0f} ms  {name}")
    start = time.perf_counter()
    points = sweep()
    elapsed = time.perf_counter() - start
    print(f"{len(points)} design points in {elapsed:.1f} s with {WORKERS} processes")
    product_js = (points["latency_s"] * points["energy_j"]).rename("energy_delay_js")
    best = points.join(product_js).sort_values("energy_delay_js").groupby("recipe", sort=False).head(1)
    print(best.to_string(index=False, float_format="{:.4g}".format))
    if out:
        points.to_csv(out, index=False)


if __name__ == "__main__":
    main()
