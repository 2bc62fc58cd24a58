"""Nothing between the noise codes and the image codes is floating point."""

import importlib
from dataclasses import fields, is_dataclass

import numpy as np
import pytest

import hqsim
from hqsim.simulate import CodeExecutor
from hqsim.simulate.sampler import resolve_settings, sample

KERNELS = {
    "broadcast": ["add_broadcast"],
    "group_norm": ["group_normalize"],
    "lut": ["gate"],
    "product": ["multiply_codes"],
    "rescale": ["add_rescaled", "rescale"],
    "softmax": ["exponentials", "softmax"],
    "transform": ["invert_lanes", "quantize_lanes"],
}


def _assert_integer(what, value):
    """Check a number or an array, or each in a tuple, a dictionary or a dataclass; words are none."""
    if is_dataclass(value):
        value = tuple(getattr(value, field.name) for field in fields(value))
    if isinstance(value, tuple | dict):
        for part in value.values() if isinstance(value, dict) else value:
            _assert_integer(what, part)
    elif value is not None and not isinstance(value, str):
        assert np.asarray(value).dtype.kind in "iub", f"{what}: {np.asarray(value).dtype}"


@pytest.fixture
def watched_kernels(monkeypatch):
    """Every public kernel, wrapped so that each argument and result is checked; returns the calls seen."""
    calls = []

    def watch(name, kernel):
        def wrapper(*arguments):
            for position, argument in enumerate(arguments):
                _assert_integer(f"{name} argument {position}", argument)
            result = kernel(*arguments)
            for position, argument in enumerate(arguments):
                _assert_integer(f"{name} argument {position} afterwards", argument)
            if result is not None:
                _assert_integer(f"{name} result", result)
            calls.append(name)
            return result

        return wrapper

    for module_name, names in KERNELS.items():
        module = importlib.import_module(f"hqsim.kernels.{module_name}")
        for name in names:
            monkeypatch.setattr(module, name, watch(name, getattr(module, name)))
    return calls


class _Watching(CodeExecutor):
    """Checks the dtype of every array that a node reads, holds or returns, and of every sampler step."""

    def evaluate(self, node, inputs, entry):
        for value in inputs:
            _assert_integer(f"{node.name} input", value)
        for name, array in self.arrays(node, entry).items():
            _assert_integer(f"{node.name} {name}", array)
        codes = super().evaluate(node, inputs, entry)
        _assert_integer(f"{node.name} result", codes)
        return codes

    def guide(self, noise):
        _assert_integer("guidance input", noise)
        codes = super().guide(noise)
        _assert_integer("guidance result", codes)
        return codes

    def advance(self, x, noise, index):
        for array in (x, noise):
            _assert_integer("step input", array)
        codes = super().advance(x, noise, index)
        _assert_integer("step result", codes)
        return codes


def test_every_tensor_from_noise_to_image_is_an_integer(watched_kernels):
    qmodel = hqsim.quantize(hqsim.load_model("digits"), "hqdm-w4a4", steps=2, images=2)
    executor = _Watching(qmodel, form="integer")
    settings = resolve_settings(qmodel, labels=None, images=2, steps=2, guidance=1.5, seed=0)
    x = sample(qmodel, executor, settings)
    _assert_integer("sample", x)
    image = executor.image(x)
    assert image.dtype == np.uint8
    assert set(watched_kernels) == {name for names in KERNELS.values() for name in names}
