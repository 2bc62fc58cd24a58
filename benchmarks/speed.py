"""Speed of the integer engine beside its peers, in one run: ``make bench`` writes benchmarks/RESULTS.md.

Everything is compared with something measured in the same process, alternating, medians; ratios count, not
seconds. Run it with nothing else running; about twelve minutes on two cores.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

MODEL, RECIPE = "ldm4-imagenet", "hqdm-w4a4"
PAGE = Path(__file__).parent / "RESULTS.md"
ROUNDS = 7

Figure = tuple[str, float, float | None, str]
"""What, its ratio (or value), the target (None where there is none), and the unit."""


def alternate(calls: dict[str, Callable[[], object]], rounds: int = ROUNDS) -> dict[str, float]:
    """Return the median seconds of every call; the calls take turns."""
    for call in calls.values():
        call()
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def run_child(part: str, *arguments: str, **environment: str) -> dict[str, Any]:
    """Run one part of this file in a process of its own and return the JSON that it prints last."""
    command = [sys.executable, __file__, "--part", part, *arguments]
    output = subprocess.run(
        command, env={**os.environ, **environment}, check=True, capture_output=True, text=True
    ).stdout
    result: dict[str, Any] = json.loads(output.strip().splitlines()[-1])
    return result


# One step of the model


def prepare_artefact(folder: Path) -> None:
    """Quantize the model once; every part loads it from there."""
    import hqsim

    qmodel = hqsim.quantize(hqsim.load_model(MODEL), RECIPE, steps=1, images=1, guidance=1.0, seed=0)
    qmodel.save(folder)


def step_calls(folder: Path, names: tuple[str, ...]) -> dict[str, Callable[[], object]]:
    """Return one call of the model per executor; ``float`` is diffusers' own forward."""
    import hqsim
    from hqsim.simulate.executors import make_executor
    from hqsim.simulate.sampler import resolve_settings, start_run, step_contexts

    qmodel = hqsim.load_quantized(folder)
    settings = resolve_settings(qmodel, labels=[7], images=None, steps=1, guidance=1.0, seed=0)
    (context,) = step_contexts(qmodel, settings)

    def forward(executor: Any, x: Any) -> None:
        for _ in executor.predict(x, context):
            pass

    calls: dict[str, Callable[[], object]] = {}
    for name in names:
        if name == "float":
            calls[name] = diffusers_forward()
            continue
        executor = make_executor(qmodel, name)
        x = start_run(qmodel, executor, settings)
        calls[name] = lambda executor=executor, x=x: forward(executor, x)
    return calls


def diffusers_forward() -> Callable[[], object]:
    """Return the forward of the float32 model as diffusers runs it, with random weights of its own."""
    import diffusers
    import torch

    from hqsim.models.published import PUBLISHED

    published = PUBLISHED[MODEL]
    module = getattr(diffusers, published.class_name).from_config(dict(published.config)).eval()
    size, channels = published.config["sample_size"], published.config["in_channels"]
    assert published.context is not None
    inputs = {
        "sample": torch.randn(1, channels, size, size),
        "timestep": torch.tensor([500]),
        "encoder_hidden_states": torch.randn(1, *published.context[1:]),
    }

    def call() -> None:
        with torch.inference_mode():
            module(**inputs)

    return call


def measure_step(folder: Path) -> dict[str, float]:
    """Seconds of one step by each executor."""
    return alternate(step_calls(folder, ("integer", "float", "fakequant")), rounds=5)


def measure_portable(folder: Path) -> dict[str, float]:
    """Seconds of one step by the portable kernels and by float32 torch."""
    return alternate(step_calls(folder, ("integer", "float")), rounds=3)


def measure_memory(folder: Path, name: str) -> dict[str, float]:
    """Peak resident memory of one step, everything included (interpreter, libraries, weights)."""
    import resource

    (call,) = step_calls(folder, (name,)).values() if name != "float" else (diffusers_forward(),)
    call()
    return {"bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0}


# Matrix products


def layer_shapes() -> list[tuple[int, int, int, int]]:
    """Return the distinct (m, n, k, how often) of the model's convolutions and linear layers."""
    from collections import Counter

    import hqsim
    from hqsim.analysis.estimate import records_of

    model = hqsim.load_model(MODEL)
    records = records_of(model, recipe=RECIPE, batch=1, guidance=1.0, steps=1)
    found = Counter(
        (record.matrix.m, record.matrix.n, record.matrix.k)
        for record in records
        if record.matrix and record.op in ("conv2d", "linear") and record.matrix.m >= 64
    )
    return [(*shape, count) for shape, count in found.items()]


def product_call(m: int, n: int, k: int, form: int, reach: int) -> Callable[[], object]:
    """Return a product of int8 rows and columns by the engine's kernel, rescaled to 16-bit codes."""
    import numpy as np

    from hqsim.numerics import Format
    from hqsim.ops.layer_layout import Window

    rng = np.random.default_rng(0)
    rows = rng.integers(-reach, reach, (1, m, 1, k)).astype(np.int8)
    weight = rng.integers(-reach, reach, (n, k, 1, 1)).astype(np.int8)
    return layer_call(rows, weight, Window((1, 1), 1, (0, 0), (m, 1)), form, Format(16, (1.0,)))


def layer_call(rows: Any, weight: Any, window: Any, form: int, output: Any) -> Callable[[], object]:
    """Return one layer on int8 codes ``rows [b, h, w, c]`` by ``multiply_layer``."""
    import numpy as np

    from hqsim.kernels.panels import pack_panels
    from hqsim.kernels.tile import EIGHT
    from hqsim.ops import fused

    outputs = len(weight)
    packed = fused.PackedLayer(pack_panels(fused.taps_of(weight), form), eight=form == EIGHT)
    rescale = fused.Rescale(
        np.full(outputs, 20000, np.int32), np.zeros(outputs, np.int64), 8, np.full(outputs, 30)
    )
    return lambda: fused.multiply_layer(packed, rows, lambda: window, 0, rescale, output)


def measure_gemm() -> dict[str, float]:
    """Seconds over all shapes of the model, each as often as it occurs, as plain matrix products."""
    import numpy as np
    import torch

    from hqsim.kernels.tile import EIGHT

    totals = {"engine int8": 0.0, "engine int4 weights": 0.0, "torch._int_mm": 0.0, "torch.mm float32": 0.0}
    for m, n, k, count in layer_shapes():
        rng = np.random.default_rng(1)
        a = torch.from_numpy(rng.integers(-128, 128, (m, k)).astype(np.int8))
        b = torch.from_numpy(rng.integers(-128, 128, (n, k)).astype(np.int8)).T
        x, y = a.float(), b.float().contiguous()
        calls = {
            "engine int8": product_call(m, n, k, EIGHT, 128),
            "engine int4 weights": product_call(m, n, k, EIGHT, 8),
            "torch._int_mm": lambda a=a, b=b: torch._int_mm(a, b),
            "torch.mm float32": lambda x=x, y=y: torch.mm(x, y),
        }
        for name, seconds in alternate(calls, rounds=5).items():
            totals[name] += seconds * count
    return totals


def measure_convolution() -> dict[str, float]:
    """Rates of 3 x 3 convolutions at the model's four resolutions and of the same products as plain GEMMs."""
    import numpy as np

    from hqsim.kernels.tile import EIGHT
    from hqsim.numerics import Format
    from hqsim.ops.layer_layout import Window

    totals = {"convolution": 0.0, "gemm": 0.0}
    for size, channels in ((64, 192), (32, 384), (16, 576), (8, 960)):
        rng = np.random.default_rng(0)
        rows = rng.integers(-128, 128, (1, size, size, channels)).astype(np.int8)
        weight = rng.integers(-128, 128, (channels, channels, 3, 3)).astype(np.int8)
        window = Window((3, 3), 1, (1, 1), (size, size))
        calls = {
            "convolution": layer_call(rows, weight, window, EIGHT, Format(16, (1.0,))),
            "gemm": product_call(size * size, channels, 9 * channels, EIGHT, 128),
        }
        for name, seconds in alternate(calls).items():
            totals[name] += seconds
    return totals


# Butterflies


def measure_butterflies() -> dict[str, float]:
    """Seconds of in-place butterflies of order 5, of a copy of the same bytes, of the dense torch product."""
    import numpy as np
    import torch

    from hqsim.kernels.transform import invert_transform
    from hqsim.numerics import sylvester

    shape = (64 * 16, 64, 192)
    x = np.random.default_rng(0).integers(-8, 8, shape).astype(np.int16)
    target, signs, nothing = np.empty_like(x), np.ones(32, np.int32), np.zeros((0, 0, 0), np.uint8)
    dense = torch.from_numpy(sylvester(5).astype(np.float32))
    blocks = torch.from_numpy(x).float().reshape(-1, 32, 192)

    def in_place() -> None:
        # Scaling back is not timed: codes wrap, which costs the same.
        invert_transform(x, signs, np.int64(0), False, x, nothing, narrow=True)

    return alternate(
        {
            "butterflies": in_place,
            "copy": lambda: torch.from_numpy(target).copy_(torch.from_numpy(x)),
            "dense": lambda: torch.matmul(dense, blocks),
        }
    )


# Start


def measure_start(folder: Path) -> dict[str, float]:
    """Seconds that getting the kernels ready takes: the first step (with packing) less the second one."""
    import hqsim
    from hqsim.simulate.executors import make_executor
    from hqsim.simulate.sampler import resolve_settings, start_run, step_contexts

    qmodel = hqsim.load_quantized(folder)
    settings = resolve_settings(qmodel, labels=[7], images=None, steps=1, guidance=1.0, seed=0)
    seconds = []
    for _ in range(2):
        start = time.perf_counter()
        executor = make_executor(qmodel, "integer")
        x = start_run(qmodel, executor, settings)
        for _ in executor.predict(x, next(iter(step_contexts(qmodel, settings)))):
            pass
        seconds.append(time.perf_counter() - start)
    return {"seconds": seconds[0] - seconds[1]}


# The page


def main() -> None:
    """Measure everything and write the page; ``--part`` measures one part in this process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", choices=sorted(PARTS))
    parser.add_argument("arguments", nargs="*")
    parser.add_argument("--out", type=Path, default=PAGE)
    options = parser.parse_args()
    if options.part:
        paths = [Path(value) if os.sep in value else value for value in options.arguments]
        print(json.dumps(PARTS[options.part](*paths)))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "artefact"
        print(f"quantize {MODEL} ({RECIPE}, random weights)", flush=True)
        run_child("prepare", str(folder))
        figures = measure_all(folder, Path(name))
    options.out.write_text(page(figures), encoding="utf-8")
    print(options.out.read_text(encoding="utf-8"))


def measure_all(folder: Path, scratch: Path) -> list[Figure]:
    """Run every part in a process of its own and return the figures of the page."""
    parts: dict[str, dict[str, float]] = {}

    def run(label: str, part: str, *arguments: str, **environment: str) -> dict[str, Any]:
        print(label, flush=True)
        parts[label] = run_child(part, *arguments, **environment)
        return parts[label]

    step = run("one step", "step", str(folder))
    avx2 = {
        "HQSIM_CACHE_DIR": str(scratch / "avx2"),
        "NUMBA_CPU_NAME": "haswell",
        "NUMBA_CPU_FEATURES": "+avx,+avx2,+fma,+bmi,+bmi2,+sse4.2,+popcnt",
    }
    portable = run("one step, AVX2 kernels", "portable", str(folder), **avx2)
    integer, real = (run(f"memory, {name}", "memory", str(folder), name) for name in ("integer", "float"))
    gemm = run("matrix products", "gemm")
    convolution = run("convolutions", "convolution")
    butterflies = run("butterflies", "butterflies")
    cold, warm = (
        run(f"{kind} start", "start", str(folder), HQSIM_CACHE_DIR=str(scratch / "cold"))
        for kind in ("cold", "warm")
    )
    copied = butterflies["copy"]
    return [
        ("LDM-4 step: faster than float32 torch", step["float"] / step["integer"], 3.0, "x"),
        ("LDM-4 step: faster than torch fake-quant", step["fakequant"] / step["integer"], 8.0, "x"),
        ("int8 GEMM, rate beside torch._int_mm", gemm["torch._int_mm"] / gemm["engine int8"], 0.85, "x"),
        ("the same with 4-bit weights", gemm["torch._int_mm"] / gemm["engine int4 weights"], None, "x"),
        (
            "int8 GEMM, rate beside float32 torch.mm",
            gemm["torch.mm float32"] / gemm["engine int8"],
            None,
            "x",
        ),
        ("convolution, rate beside this GEMM", convolution["gemm"] / convolution["convolution"], 0.6, "x"),
        (
            "butterflies of order 5 in place, rate beside a copy",
            copied / butterflies["butterflies"],
            0.5,
            "x",
        ),
        (
            "the same beside the dense product in torch",
            butterflies["dense"] / butterflies["butterflies"],
            None,
            "x",
        ),
        (
            "peak memory of a step beside float32 torch (at most)",
            integer["bytes"] / real["bytes"],
            0.5,
            "of it",
        ),
        (
            "portable path (AVX2), LDM-4 step beside float32 torch",
            portable["float"] / portable["integer"],
            0.4,
            "x",
        ),
        ("cold start: compile every kernel (at most)", cold["seconds"], 45.0, "s"),
        ("warm start (at most)", warm["seconds"], 1.5, "s"),
    ]


def page(figures: list[Figure]) -> str:
    """Return the page."""
    versions = ", ".join(
        f"{name} {metadata.version(name)}" for name in ("torch", "numba", "llvmlite", "numpy")
    )
    cpu = next(
        (line.split(":")[1].strip() for line in _cpu_lines() if line.startswith("model name")),
        platform.machine(),
    )
    lines = [
        "# Speed",
        "",
        f"Written by `make bench`: {MODEL}, {RECIPE}, batch 1, random weights. {cpu}, {os.cpu_count()} CPUs; "
        f"Python {platform.python_version()}, {versions}. Ratios are medians of alternating runs.",
        "",
        "| Figure | Measured | Target | |",
        "|---|---:|---:|---|",
    ]
    for name, value, target, unit in figures:
        met = ""
        if target is not None:
            met = "met" if (value <= target if "(at most)" in name else value >= target) else "**not met**"
        wanted = "" if target is None else f"{target:g} {unit}"
        lines.append(f"| {name} | {value:.2f} {unit} | {wanted} | {met} |")
    return "\n".join(lines) + "\n"


def _cpu_lines() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


PARTS: dict[str, Callable[..., Any]] = {
    "prepare": prepare_artefact,
    "step": measure_step,
    "portable": measure_portable,
    "memory": measure_memory,
    "gemm": measure_gemm,
    "convolution": measure_convolution,
    "butterflies": measure_butterflies,
    "start": measure_start,
}

if __name__ == "__main__":
    main()
