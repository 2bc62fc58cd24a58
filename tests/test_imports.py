"""What importing hqsim loads, and what its public names are, in fresh interpreters."""

import re
import subprocess
import sys

import pytest

import hqsim

LIGHT_PACKAGES = (
    "hqsim",
    "hqsim.cli",
    "hqsim.cli.app",
    "hqsim.errors",
    "hqsim.io",
    "hqsim.numerics",
    "hqsim.graph",
    "hqsim.cost",
    "hqsim.analysis",
    "hqsim.report",
)
SUBMODULE_SPELLINGS = """
import hqsim
import hqsim.quantize.recipe
import hqsim.quantize.recipe as by_alias
from hqsim.quantize import recipe as by_name
from hqsim.quantize import load_recipe
from hqsim import quantize, simulate
import sys
package = sys.modules["hqsim.quantize"]
assert by_alias is by_name is sys.modules["hqsim.quantize.recipe"]
assert hqsim.quantize is quantize is package.quantize
assert hqsim.simulate is simulate is sys.modules["hqsim.simulate"].simulate
assert hqsim.quantize.recipe is by_name
assert hqsim.quantize.load_recipe is load_recipe
assert callable(quantize) and quantize.__name__ == "quantize"
"""


def _run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("package", LIGHT_PACKAGES)
def test_light_packages_load_neither_torch_nor_numba(package):
    code = f"import sys, {package}; print(sorted({{'torch', 'numba'}} & set(sys.modules)))"
    assert _run(code) == "[]\n"


def test_an_estimate_of_a_built_in_model_loads_neither_torch_nor_numba():
    code = (
        "import sys, hqsim\n"
        "hqsim.estimate('ldm8-churches', 'edge-npu-16x16', recipe='hqdm-w4a4')\n"
        "print(sorted({'torch', 'numba', 'diffusers'} & set(sys.modules)))"
    )
    assert _run(code) == "[]\n"


@pytest.mark.parametrize("first", ["import hqsim; hqsim.quantize; hqsim.simulate", "import hqsim.simulate"])
def test_functions_and_packages_of_one_name_live_together(first):
    """Whether the function is used first or the package imported first."""
    assert _run(f"{first}\n{SUBMODULE_SPELLINGS}\nprint('ok')") == "ok\n"


@pytest.mark.parametrize("name", sorted(set(hqsim.__all__)))
def test_every_public_name_is_there(name):
    assert getattr(hqsim, name) is not None
    assert name in dir(hqsim)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match=r"^module 'hqsim' has no attribute 'quantise'$"):
        _ = hqsim.quantise


def test_a_fake_can_stand_in_for_a_public_function(monkeypatch):
    original = hqsim.quantize
    monkeypatch.setattr("hqsim.quantize", "fake")
    assert hqsim.quantize == "fake"
    monkeypatch.undo()
    assert hqsim.quantize is original


def test_the_command_line_passes_options_that_the_functions_take():
    import inspect

    from hqsim.analysis.demo import run_demo

    wanted = {
        hqsim.quantize: {"seed", "steps", "images", "guidance", "train", "checkpoint", "progress"},
        hqsim.simulate: {
            "labels", "images", "executor", "steps", "guidance", "seed", "progress",
        },
        hqsim.verify: {"steps", "images", "seed", "guidance", "against", "progress"},
        hqsim.estimate: {"recipe", "steps", "batch"},
        run_demo: {"recipe", "images", "seed", "progress"},
    }  # fmt: skip
    for function, names in wanted.items():
        assert names <= set(inspect.signature(function).parameters), function.__name__


def test_version_is_a_release():
    assert re.fullmatch(r"\d+\.\d+\.\d+", hqsim.__version__)
