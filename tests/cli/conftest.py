"""Stand-ins for the packages behind the verbs: they record how they were called and answer at once."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from hqsim.cli.run import run
from hqsim.errors import unknown_name

MACHINES = ("edge-npu-16x16", "h200", "tpu-v4i")
RECIPES = ("hqdm-channel-w4a4", "hqdm-w4a4", "ptq-w8a8")


@dataclass(frozen=True)
class ModelInfo:
    name: str
    kind: str
    parameters: int
    macs: int
    embedded: bool
    description: str


class FakeQuantized:
    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(json.dumps({"kind": "quantized-model"}))
        (folder / "model.safetensors").write_bytes(bytes(5000))


class FakeSamples:
    codes = np.zeros((3, 1, 32, 32), np.uint8)
    labels = np.array([0, 1, 2])

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "codes.npy").write_bytes(b"codes")


@dataclass
class FakeVerdict:
    mismatches: int = 0
    passed: bool = True

    def to_json(self) -> dict[str, Any]:
        return {"codes_compared": 10, "mismatches": self.mismatches, "sqnr_db": float("inf")}

    def summary(self) -> list[tuple[str, str]]:
        return [("codes compared", "10"), ("mismatches", str(self.mismatches))]


class FakeEstimate:
    """A step of a convolution (a quarter of the time) and a norm."""

    def __init__(self, factor: float) -> None:
        self.layers = pd.DataFrame(
            {
                "name": ["conv_in", "mid"],
                "op": ["conv2d", "group_norm"],
                "macs": [1000, 0],
                "cycles": [100, 300],
                "latency_s": [0.5e-3, 1.5e-3],
                "energy_pj": [3e7, 7e7],
                "dram_bytes": [10, 20],
                "storage_bits_a": pd.array([4, None], dtype="Int64"),
                "storage_bits_w": pd.array([8, None], dtype="Int64"),
                "multiplier_bits_a": pd.array([9, None], dtype="Int64"),
                "multiplier_bits_w": pd.array([8, None], dtype="Int64"),
                "bound_by": ["dram", "matrix"],
            }
        )
        self.total = {
            "latency_s": 2e-3 * factor,
            "bound_by": "matrix",
            "assumed_energy_share": 0.02,
            "run": {
                "steps": 20,
                "latency_s": 30e-3 * factor,
                "energy_pj": {"multiply": 1.5e9 * factor, "dram": 0.5e9 * factor, "total": 2e9 * factor},
                "dram_bytes": 3 * 1024**2,
                "utilization": 0.625,
            },
        }

    def to_json(self) -> dict[str, Any]:
        return {"hardware": {"name": "x"}, "layers": self.layers.to_dict("records"), "total": self.total}


@dataclass
class World:
    """What the stand-ins saw, and what they shall answer."""

    calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = field(default_factory=list)
    verdict: FakeVerdict = field(default_factory=FakeVerdict)
    fault: BaseException | None = None
    refusals: dict[str, str] = field(default_factory=dict)

    def recorder(self, name: str, answer: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            self.calls.append((name, args, kwargs))
            progress = kwargs.get("progress")
            if progress is not None:
                progress("first stage", 0, 2)
                progress("first stage", 2, 2)
                progress("second stage", 1, 1)
            if self.fault is not None:
                raise self.fault
            return answer(*args, **kwargs)

        return call

    def names(self) -> list[str]:
        return [name for name, _, _ in self.calls]

    def last(self, name: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return next((args, kwargs) for called, args, kwargs in reversed(self.calls) if called == name)


def _lookup(kind: str, known: tuple[str, ...]) -> Callable[..., str]:
    def look(name: Any, **_: Any) -> str:
        if name not in known:
            raise unknown_name(kind, str(name), known)
        return f"loaded {name}"

    return look


def _demo(out: Path, **_: Any) -> SimpleNamespace:
    out.mkdir(parents=True)
    for name in ("index.html", "manifest.json"):
        (out / name).write_text("{}")
    return SimpleNamespace(
        passed=True,
        page=out / "index.html",
        summary=lambda: [("verdict", "0 mismatching codes")],
        to_json=lambda: {"passed": True, "page": str(out / "index.html")},
    )


def _run() -> Any:
    from hqsim.analysis.run_folder import Run

    settings = {"model": "digits", "recipe": "hqdm-w4a4", "steps": 4}
    return Run(
        name="hqdm-w4a4",
        manifest={"settings": settings, "inputs": {"digits": "0" * 64}},
        layers=pd.DataFrame({"layer": ["conv_in"], "macs": [1000]}),
    )


@pytest.fixture(autouse=True)
def plain_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """No colours and 80 columns, wherever the tests run."""
    for name in ("FORCE_COLOR", "GITHUB_ACTIONS", "HQSIM_TRACEBACK", "PY_COLORS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "80")


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    world = World()
    info = ModelInfo("digits", "unet", 1_234_567, 98_700_000, True, "UCI digits [32 x 32]")
    functions: dict[str, dict[str, Callable[..., Any]]] = {
        "hqsim.models": {
            "load_model": _lookup("model", ("digits", "ldm4-imagenet")),
            "list_models": lambda: [info],
        },
        "hqsim.quantize": {
            "quantize": lambda *_, **__: FakeQuantized(),
            "load_quantized": lambda folder: f"quantized {folder}",
            "load_recipe": _lookup("recipe", RECIPES),
            "list_recipes": lambda: list(RECIPES),
        },
        "hqsim.simulate": {
            "simulate": lambda *_, **__: FakeSamples(),
            "verify": lambda *_, **__: world.verdict,
        },
        "hqsim.cost": {
            "load_hardware": _lookup("hardware", MACHINES),
            "list_hardware": lambda: list(MACHINES),
        },
        "hqsim.analysis.estimate": {
            "compare": lambda _, machines, **__: SimpleNamespace(
                estimates={
                    name: FakeEstimate(1.0 + MACHINES.index(name))
                    for name in machines
                    if name not in world.refusals
                },
                refusals={name: world.refusals[name] for name in machines if name in world.refusals},
            ),
            "guidance_of": lambda _, guidance: 3.0 if guidance is None else guidance,
        },
        "hqsim.analysis.demo": {"run_demo": _demo},
        "hqsim.analysis.trace": {"trace": lambda *_, **__: _run()},
    }
    for module_name, answers in functions.items():
        module = ModuleType(module_name)
        for name, answer in answers.items():
            setattr(module, name, world.recorder(name, answer))
        monkeypatch.setitem(sys.modules, module_name, module)
    sys.modules["hqsim.analysis.estimate"].DEFAULT_RECIPE = "ptq-w8a8"
    return world


@pytest.fixture
def quantized(tmp_path: Path) -> Path:
    folder = tmp_path / "quantized"
    FakeQuantized().save(folder)
    return folder


@dataclass(frozen=True)
class Answer:
    code: int
    out: str
    err: str

    def json(self) -> Any:
        def refuse(constant: str) -> None:
            raise AssertionError(f"'{constant}' is not JSON")

        return json.loads(self.out, parse_constant=refuse)


@pytest.fixture
def hqsim(capsys: pytest.CaptureFixture[str]) -> Callable[..., Answer]:
    """Run the command line in this process, as the console script does."""

    def invoke(*arguments: str | Path) -> Answer:
        code = run([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return Answer(code, out, err)

    return invoke


@pytest.fixture
def full_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "full"
    folder.mkdir()
    (folder / "keep.txt").write_text("mine")
    return folder
