"""No kernel computes with a floating-point value: read off the compiled types and the LLVM code.

The inferred types are not enough: inside numba's own array functions an unsigned size beside a signed one
becomes a float64. So the code is searched too; it is all there is of an intrinsic, which numba's types know
only by what goes in and comes out.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import numba
import numpy as np
import pytest
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

import hqsim.kernels
from hqsim.kernels.jit import KERNELS
from tests.kernels.calls import make_calls

pytestmark = pytest.mark.skipif(numba.config.DISABLE_JIT, reason="nothing is compiled, so there are no types")

FLOAT_TYPE = re.compile(r"float|complex")
FLOAT_CODE = re.compile(
    r"\b(?:fadd|fsub|fmul|fdiv|frem|fneg|fcmp|fpext|fptrunc|fpto[su]i|[su]itofp|double|float)\b"
)


def float_uses(function: Callable[..., Any], signature: tuple[Any, ...]) -> set[str]:
    """Return the floating-point variables and instructions of ``function``.

    It is compiled afresh, because the cache keeps neither types nor LLVM code.
    """
    dispatcher = numba.njit(function)
    dispatcher.compile(signature)
    (overload,) = dispatcher.overloads.values()
    variables = overload.type_annotation.typemap
    found = {f"{name}: {kind}" for name, kind in variables.items() if FLOAT_TYPE.search(str(kind))}
    return found | set(FLOAT_CODE.findall(dispatcher.inspect_llvm(dispatcher.signatures[0])))


def test_every_kernel_and_helper() -> None:
    for module in pkgutil.iter_modules(hqsim.kernels.__path__, "hqsim.kernels."):
        importlib.import_module(module.name)
    found = {}
    for name, (kernel, arguments) in make_calls(1).items():
        if name == kernel.__name__:
            signature = tuple(numba.typeof(argument) for argument in arguments)
            found[name] = float_uses(kernel.py_func, signature)
    # Compiling a caller gives its helpers a signature.
    pending = [helper for helper in KERNELS if helper.__name__ not in found]
    while pending:
        ready = [helper for helper in pending if helper.signatures]
        assert ready, f"no kernel of calls.py uses {[helper.__name__ for helper in pending]}"
        for helper in ready:
            name = f"{helper.__module__}.{helper.__name__}"
            found[name] = float_uses(helper.py_func, helper.signatures[0])
            pending.remove(helper)
    assert {name: uses for name, uses in found.items() if uses} == {}
    assert len(found) == len(KERNELS)


def test_the_check_sees_a_float() -> None:
    def divide(x, n):
        return x / n

    def round_trip(x, n):
        return np.int64(np.float64(x) * n)

    integers = (numba.int64, numba.int64)
    assert "fdiv" in float_uses(divide, integers)
    assert {"sitofp", "fmul", "fptosi"} <= float_uses(round_trip, integers)


def test_the_check_sees_a_float_inside_an_intrinsic() -> None:
    @intrinsic
    def halve(typing_context, x):
        def generate(context, builder, signature, arguments):
            real = builder.sitofp(arguments[0], ir.FloatType())
            return builder.fptosi(builder.fmul(real, ir.FloatType()(0.5)), ir.IntType(64))

        return types.int64(types.int64), generate

    def call(x):
        return halve(x)

    assert {"sitofp", "fmul", "fptosi", "float"} <= float_uses(call, (numba.int64,))


def test_the_check_looks_into_named_tuples() -> None:
    class Pair(NamedTuple):
        whole: int
        part: float

    def total(pair):
        return pair.whole + 1

    found = float_uses(total, (numba.typeof(Pair(1, 0.5)),))
    assert any("Pair" in use for use in found)
