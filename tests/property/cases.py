"""For every operator: random nodes with codes, formats and parameters, extremes among them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from hypothesis import strategies as st

from hqsim.graph import Node
from hqsim.numerics import Format
from hqsim.ops import OPERATORS, Preparation, WeightCodes
from tests.ops.builders import FILLS, carrier, make_codes, make_node, prepare

BATCH = 2
ENTRIES = 2
"""Length of the timestep tables."""
CARRIER_BITS = st.sampled_from([8, 12, 16])
SEEDS = st.integers(0, 2**32)
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Case:
    """One node and all that both of its forms need."""

    node: Node
    formats: Mapping[str, Format]
    inputs: tuple[np.ndarray, ...]
    parameters: Mapping[str, np.ndarray] = field(default_factory=dict)
    weights: Mapping[str, WeightCodes] = field(default_factory=dict)

    @property
    def output(self) -> Format:
        """Format of the result."""
        return self.formats[self.node.name]

    def exact_arrays(self, entry: int = 0) -> dict[str, np.ndarray]:
        """Prepared parameters at one entry of the timestep tables."""
        return prepare(self.node, self.formats, parameters=self.parameters, weights=self.weights, entry=entry)

    def packed_arrays(self, entry: int = 0) -> dict[str, Any]:
        """The same as the integer executor has them: packed once, then one entry of the tables."""
        return packed_arrays(self.node, Preparation(self.formats, self.parameters, self.weights), entry)


def packed_arrays(node: Node, preparation: Preparation, entry: int = 0) -> dict[str, Any]:
    """Prepare a node, pack its parameters and take one entry of its tables, as the integer executor does."""
    operator = OPERATORS[node.op]
    packed = operator.pack(node, operator.prepare(node, preparation))
    return {
        name: array[min(entry, len(array) - 1)] if name in operator.per_step else array
        for name, array in packed.items()
    }


CASES: dict[str, Callable[[int], st.SearchStrategy[Case]]] = {}
"""By operator: the strategy of cases whose axes are at most so long (transformed ones: so many blocks)."""


def cases_of(op: str) -> Callable[[Any], Any]:
    """Register ``function(draw, length)`` as the strategy of an operator."""

    def register(function: Any) -> Any:
        CASES[op] = st.composite(function)
        return function

    return register


def build(
    draw: st.DrawFn,
    op: str,
    sources: Mapping[str, tuple[Format, Shape]],
    *,
    shape: Shape = (),
    output: Format | None = None,
    parameters: Mapping[str, np.ndarray] | None = None,
    roles: Mapping[str, str] | None = None,
    weights: Mapping[str, WeightCodes] | None = None,
    **attributes: Any,
) -> Case:
    """Return the case of a node ``y``; its shape and its format are the operator's, if not given."""
    node = make_node(op, shape, inputs=tuple(sources), parameters=roles or {}, **attributes)
    operator = OPERATORS[op]
    formats = {name: source for name, (source, _) in sources.items()}
    node = make_node(
        op,
        operator.shape(node, [size for _, size in sources.values()]),
        inputs=node.inputs,
        parameters=node.parameters,
        **attributes,
    )
    target = operator.output_format(node, list(formats.values()), output or next(iter(formats.values())))
    rng = np.random.default_rng(draw(SEEDS))
    inputs = tuple(
        make_codes(rng, source, (BATCH, *size), draw(st.sampled_from(FILLS)))
        for source, size in sources.values()
    )
    return Case(node, {**formats, "y": target}, inputs, parameters or {}, weights or {})


def random_of(draw: st.DrawFn) -> np.random.Generator:
    """Draw a generator: the values of weights and parameters need no shrinking."""
    return np.random.default_rng(draw(SEEDS))


def shape_of(draw: st.DrawFn, length: int, *, axes: int | None = None) -> Shape:
    """Draw the shape of a sample of one to three axes."""
    count = draw(st.integers(1, 3)) if axes is None else axes
    return tuple(draw(st.integers(1, length)) for _ in range(count))


def power(draw: st.DrawFn, low: float, high: float) -> float:
    """Draw a factor between two powers of two."""
    return 2.0 ** draw(st.floats(low, high))


def repeated(draw: st.DrawFn, shape: Shape) -> Shape:
    """Draw the shape of a second operand: the same, or repeated along a run of axes."""
    first = draw(st.integers(0, len(shape) - 1))
    last = draw(st.integers(first, len(shape)))
    return (*shape[:first], *[1] * (last - first), *shape[last:])


@cases_of("add")
def add(draw, length):
    shape, bits = shape_of(draw, length), draw(CARRIER_BITS)
    sources = {
        "a": (carrier(power(draw, -6, 6), bits), shape),
        "b": (carrier(power(draw, -6, 6), bits), repeated(draw, shape)),
    }
    return build(draw, "add", sources, output=carrier(1.0, bits))


@cases_of("product")
def product(draw, length):
    shape = shape_of(draw, length)
    sources = {
        "a": (carrier(power(draw, -6, 6), draw(CARRIER_BITS)), shape),
        "b": (carrier(power(draw, -6, 6), draw(CARRIER_BITS)), repeated(draw, shape)),
    }
    return build(draw, "product", sources, output=carrier(power(draw, 0, 20), draw(CARRIER_BITS)))


@cases_of("offset")
def offset(draw, length):
    shape, bits = shape_of(draw, length), draw(CARRIER_BITS)
    sources, output = {"x": (carrier(power(draw, -20, 8), bits), shape)}, carrier(1.0, bits)
    if draw(st.booleans()):
        return build(draw, "offset", sources, output=output, value=draw(st.floats(-(2**15), 2**15)))
    table = random_of(draw).normal(0, power(draw, -4, 16), shape)
    return build(draw, "offset", sources, output=output, parameters={"t": table}, roles={"table": "t"})


@cases_of("rescale")
def rescale(draw, length):
    source = carrier(2.0**-20, draw(st.sampled_from([8, 16, 24])))
    output = carrier(source.scale * power(draw, -14, 16), draw(CARRIER_BITS))
    return build(draw, "rescale", {"x": (source, shape_of(draw, length))}, output=output)


@cases_of("scale")
def scale(draw, length):
    source = carrier(1.0, draw(CARRIER_BITS))
    return build(draw, "scale", {"x": (source, shape_of(draw, length))}, factor=power(draw, -4, 4))


@cases_of("concat")
def concat(draw, length):
    shape, bits = shape_of(draw, length), draw(CARRIER_BITS)
    axis = draw(st.integers(1, len(shape)))
    sources = {}
    for name in ("a", "b", "c")[: draw(st.integers(2, 3))]:
        side = list(shape)
        side[axis - 1] = draw(st.integers(1, length))
        sources[name] = (carrier(power(draw, -6, 6), bits), tuple(side))
    return build(draw, "concat", sources, axis=axis)


@cases_of("reshape")
def reshape(draw, length):
    shape = shape_of(draw, length)
    source = carrier(1.0, draw(CARRIER_BITS))
    return build(draw, "reshape", {"x": (source, shape)}, shape=(*shape[1:], shape[0]))


@cases_of("permute")
def permute(draw, length):
    shape = shape_of(draw, length)
    order = (0, *draw(st.permutations(range(1, len(shape) + 1))))
    return build(draw, "permute", {"x": (carrier(1.0, draw(CARRIER_BITS)), shape)}, order=order)


@cases_of("slice")
def slice_(draw, length):
    shape = shape_of(draw, length)
    axis = draw(st.integers(1, len(shape)))
    start = draw(st.integers(0, shape[axis - 1] - 1))
    stop = draw(st.integers(start + 1, shape[axis - 1]))
    source = carrier(1.0, draw(CARRIER_BITS))
    return build(draw, "slice", {"x": (source, shape)}, axis=axis, start=start, stop=stop)


@cases_of("upsample_nearest")
def upsample_nearest(draw, length):
    source = carrier(1.0, draw(CARRIER_BITS))
    factor = draw(st.integers(1, 3))
    return build(draw, "upsample_nearest", {"x": (source, shape_of(draw, length, axes=3))}, factor=factor)


@cases_of("average_pool")
def average_pool(draw, length):
    factor = draw(st.sampled_from([1, 2, 4]))
    channels, *image = shape_of(draw, length, axes=3)
    height, width = (factor * size + draw(st.integers(0, factor - 1)) for size in image)
    source = carrier(1.0, draw(CARRIER_BITS))
    return build(draw, "average_pool", {"x": (source, (channels, height, width))}, factor=factor)


def gate(op: str) -> None:
    """Register a gated activation: a full table up to 12 bits, interpolation above."""

    @cases_of(op)
    def gated(draw, length):
        scale = power(draw, -16, -2)
        source, output = carrier(scale, draw(CARRIER_BITS)), carrier(scale * power(draw, -3, 6), 16)
        return build(draw, op, {"x": (source, shape_of(draw, length))}, output=output)


for name in ("silu", "gelu", "gelu_tanh"):
    gate(name)


@cases_of("softmax")
def softmax(draw, length):
    source = carrier(power(draw, -16, 0), draw(CARRIER_BITS))
    return build(draw, "softmax", {"x": (source, shape_of(draw, length))})


def affine(draw: st.DrawFn, n: int) -> dict[str, np.ndarray]:
    """Gain and offset of a norm; all zero among them."""
    rng = random_of(draw)
    return {
        "g": rng.normal(0, draw(st.sampled_from([0.0, 0.1, 1.0, 10.0])), n),
        "b": rng.normal(0, draw(st.sampled_from([0.0, 1.0])), n),
    }


@cases_of("group_norm")
def group_norm(draw, length):
    groups = draw(st.integers(1, 3))
    channels, *rest = shape_of(draw, length)
    shape = (channels * groups, *rest)
    source, output = carrier(power(draw, -18, 3), draw(CARRIER_BITS)), carrier(2.0**-12, draw(CARRIER_BITS))
    return build(
        draw,
        "group_norm",
        {"x": (source, shape)},
        output=output,
        parameters=affine(draw, shape[0]),
        roles={"weight": "g", "bias": "b"},
        groups=groups,
        eps=1e-5,
    )


@cases_of("layer_norm")
def layer_norm(draw, length):
    shape = shape_of(draw, length)
    source, output = carrier(power(draw, -18, 3), draw(CARRIER_BITS)), carrier(2.0**-12, draw(CARRIER_BITS))
    is_affine = draw(st.booleans())
    return build(
        draw,
        "layer_norm",
        {"x": (source, shape)},
        output=output,
        parameters=affine(draw, shape[-1]) if is_affine else {},
        roles={"weight": "g", "bias": "b"} if is_affine else {},
        eps=1e-6,
    )


def look_up(case: Case, rows: int, seed: int) -> Case:
    """The case with numbers of rows as input, the first and the last among them."""
    numbers = np.random.default_rng(seed).integers(0, rows, BATCH)
    numbers[:] = np.where(numbers % 3 == 0, numbers, [0, rows - 1])
    return Case(case.node, case.formats, (numbers,), case.parameters)


@cases_of("embedding")
def embedding(draw, length):
    tokens, dim, rows = draw(st.integers(0, length)), draw(st.integers(1, length)), draw(st.integers(2, 9))
    table = random_of(draw).normal(0, 1, (rows, tokens, dim) if tokens else (rows, dim))
    case = build(
        draw,
        "embedding",
        {"x": (carrier(1.0), ())},
        output=carrier(2.0**-5, draw(CARRIER_BITS)),
        parameters={"t": table},
        roles={"weight": "t"},
        rows=rows,
        tokens=tokens,
        dim=dim,
    )
    return look_up(case, rows, draw(SEEDS))


@cases_of("temporal_table")
def temporal_table(draw, length):
    rows, dim = draw(st.integers(1, 9)), draw(st.integers(1, length))
    timesteps = random_of(draw).permutation(1000)[:rows]
    case = build(
        draw,
        "temporal_table",
        {"x": (carrier(1.0), ())},
        shape=(dim,),
        output=carrier(2.0**-5, draw(CARRIER_BITS)),
        parameters={"t": random_of(draw).normal(0, 1, (rows, dim)), "t.timesteps": timesteps},
        roles={"table": "t", "timesteps": "t.timesteps"},
    )
    case = look_up(case, rows, draw(SEEDS))
    return replace(case, inputs=(timesteps[case.inputs[0]],))


@cases_of("timestep_embedding")
def timestep_embedding(draw, length):
    rows = draw(st.integers(2, 50))
    case = build(
        draw,
        "timestep_embedding",
        {"x": (carrier(1.0), ())},
        output=carrier(1.0, draw(CARRIER_BITS)),
        rows=rows,
        dim=2 * draw(st.integers(2, length + 1)),
        flip_sin_to_cos=draw(st.booleans()),
        freq_shift=draw(st.integers(0, 1)),
        scale=1.0,
        max_period=10000,
    )
    return look_up(case, rows, draw(SEEDS))
