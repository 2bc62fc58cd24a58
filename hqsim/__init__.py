"""hqsim: bit-accurate integer simulation and accelerator modelling for quantized diffusion models.

>>> import hqsim
>>> model = hqsim.load_model("digits")                         # doctest: +SKIP
>>> qmodel = hqsim.quantize(model, "hqdm-w4a4", seed=0)        # doctest: +SKIP
>>> hqsim.verify(qmodel, steps=20, images=8).mismatches        # doctest: +SKIP
0
>>> hqsim.estimate(qmodel, "edge-npu-16x16").total             # doctest: +SKIP

Names are loaded when they are first used, so ``import hqsim`` starts neither torch nor numba.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING

from hqsim.errors import HqsimError, InputError, NumericsError, UnsupportedError

if TYPE_CHECKING:
    from hqsim.analysis.estimate import estimate
    from hqsim.analysis.trace import trace
    from hqsim.cost import list_hardware, load_hardware
    from hqsim.models import list_models, load_model
    from hqsim.quantize import QuantizedModel, list_recipes, load_quantized, load_recipe, quantize
    from hqsim.simulate import Samples, simulate
    from hqsim.simulate.verify import verify

__version__ = "0.1.0"

__all__ = [
    "HqsimError",
    "InputError",
    "NumericsError",
    "QuantizedModel",
    "Samples",
    "UnsupportedError",
    "__version__",
    "estimate",
    "list_hardware",
    "list_models",
    "list_recipes",
    "load_hardware",
    "load_model",
    "load_quantized",
    "load_recipe",
    "quantize",
    "simulate",
    "trace",
    "verify",
]

_HOME = {
    "QuantizedModel": "hqsim.quantize",
    "Samples": "hqsim.simulate",
    "estimate": "hqsim.analysis.estimate",
    "list_hardware": "hqsim.cost",
    "list_models": "hqsim.models",
    "list_recipes": "hqsim.quantize",
    "load_hardware": "hqsim.cost",
    "load_model": "hqsim.models",
    "load_quantized": "hqsim.quantize",
    "load_recipe": "hqsim.quantize",
    "quantize": "hqsim.quantize",
    "simulate": "hqsim.simulate",
    "trace": "hqsim.analysis.trace",
    "verify": "hqsim.simulate",
}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'hqsim' has no attribute '{name}'")
    home = import_module(_HOME[name])
    value = getattr(home, name)
    if home.__name__ == f"{__name__}.{name}" and isinstance(value, FunctionType):
        # The function bears its package's name: share the namespace, so that
        # ``hqsim.quantize.recipe`` is still the submodule.
        value.__dict__ = vars(home)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))


class _Package(ModuleType):
    """The type of ``hqsim``: ``quantize`` and ``simulate`` name the functions, not their packages.

    When a subpackage is imported, the import system binds it as an attribute of its parent. For the
    two names that belong to a function of the public interface, that binding is left out.
    """

    def __setattr__(self, name: str, value: object) -> None:
        if isinstance(value, ModuleType) and _HOME.get(name) == value.__name__:
            return
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
