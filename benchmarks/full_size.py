"""Verify the published models at full size and write docs/FULL_SIZE.md.

Run ``python benchmarks/full_size.py``; about ten minutes on two cores. Each model goes through the command
line: ``hqsim quantize`` (random weights, W4A4 single Hadamard, calibrated on one step) and ``hqsim verify``
of one step and one image, every node against the exact executor.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import subprocess
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path
from typing import Any

MODELS = ("ldm4-imagenet", "ldm4-bedrooms", "ldm8-churches", "dit-xl-2", "sd15")
RECIPE = "hqdm-w4a4"
PAGE = Path(__file__).parent.parent / "docs" / "FULL_SIZE.md"
QUANTIZE = ("--recipe", RECIPE, "--steps", "1", "--images", "1", "--guidance", "1")
VERIFY = ("--steps", "1", "--images", "1", "--guidance", "1", "--against", "exact")

HEADER = """# The published models at full size

Written by `python benchmarks/full_size.py` ({versions}).
Random weights, {recipe}, one step, one image: for every model

    hqsim quantize MODEL {quantize} --out DIR
    hqsim verify DIR {verify}

Every node's codes are compared with the exact executor; a model passes with 0 differences and equal counts
of saturated codes. Seconds include loading and, once, compiling kernels; the exact executor takes most.

| Model | Nodes | Codes compared | Differ | First | Accumulator bits | Quantize s | Verify s | Peak GiB |
|---|---:|---:|---:|---|---:|---:|---:|---:|
"""


def run(*arguments: str) -> tuple[float, float]:
    """Run ``hqsim``; return seconds and the peak GiB of any child so far. Differences are no error."""
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-m", "hqsim", *arguments], check=False)
    if done.returncode not in (0, 3):
        raise SystemExit(done.returncode)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    return time.perf_counter() - start, peak


def measure(model: str, scratch: Path) -> dict[str, Any]:
    """Quantize and verify one model."""
    folder, result = scratch / model, scratch / f"{model}.json"
    quantize, _ = run("quantize", model, *QUANTIZE, "--out", str(folder), "--quiet")
    verify, peak = run("verify", str(folder), *VERIFY, "--quiet", "--json", str(result))
    return {
        **json.loads(result.read_text(encoding="utf-8")),
        "quantize_s": quantize,
        "verify_s": verify,
        "peak_gib": peak,
    }


def row(model: str, found: dict[str, Any]) -> str:
    """Return one line of the table."""
    first = found["first_divergence"]
    bits = max(int(layer["accumulator_bits"]) for layer in found["layers"])
    return (
        f"| `{model}` | {found['nodes']} | {found['codes_compared']:,} | {found['mismatches']} "
        f"| {first['node'] if first else 'none'} | {bits} | {found['quantize_s']:.0f} "
        f"| {found['verify_s']:.0f} | {found['peak_gib']:.1f} |\n"
    )


def main() -> None:
    """Measure every model and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--out", type=Path, default=PAGE)
    options = parser.parse_args()
    names = ("torch", "numba", "numpy")
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in names)
    page = HEADER.format(
        versions=f"Python {platform.python_version()}, {versions}",
        recipe=RECIPE,
        quantize=" ".join(QUANTIZE),
        verify=" ".join(VERIFY),
    )
    with tempfile.TemporaryDirectory() as name:
        for model in options.models:
            page += row(model, measure(model, Path(name)))
            print(page.splitlines()[-1], flush=True)
    options.out.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
