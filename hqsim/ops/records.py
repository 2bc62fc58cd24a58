"""Layer records of a lowered graph: one per executed node, the sampler's own steps included."""

from __future__ import annotations

import math
from collections.abc import Mapping

from hqsim.graph import Graph, LayerRecord, TensorUse
from hqsim.numerics import Format
from hqsim.ops import OPERATORS, Multiply, WorkContext


def layer_records(
    graph: Graph,
    formats: Mapping[str, Format],
    *,
    images: int,
    guided: bool,
    accumulator_bits: Mapping[str, int] | None = None,
    table_steps: int = 1,
) -> list[LayerRecord]:
    """Return what one denoising step costs, in execution order.

    Parameters
    ----------
    graph, formats
        A lowered graph and the format of every node (widths are enough).
    images
        Images per step; with ``guided`` the model runs on twice as many samples.
    accumulator_bits
        Proved widths per layer; without them the worst case of the widths is taken.
    table_steps
        Entries of the per-timestep tables.
    """
    context = WorkContext(
        graph=graph,
        formats=formats,
        batch=images * (2 if guided else 1),
        accumulator_bits=accumulator_bits or {},
        table_steps=table_steps,
    )
    records = [OPERATORS[node.op].record(node, context) for node in graph]
    return [record for record in records if record is not None] + _sampler_records(context, images, guided)


def macs_by_layer(graph: Graph) -> dict[str, int]:
    """Return the multiply-accumulates of every product of a graph, lowered or not, for one sample.

    They follow from the shapes alone.
    """
    context = WorkContext(graph=graph, formats={}, batch=1, accumulator_bits={})
    macs = {}
    for node in graph:
        operator = OPERATORS[node.op]
        if isinstance(operator, Multiply):
            macs[node.name] = math.prod(operator.matrix_work(node, context))
    return macs


def _sampler_records(context: WorkContext, images: int, guided: bool) -> list[LayerRecord]:
    """Guidance (one weighted sum) and the DDIM step (another)."""
    elements = context.graph["sample"].type.elements * images
    noise = context.uses[context.graph.output]
    records = []
    if guided:
        combined = TensorUse(name="sampler.guidance", elements=elements, bits=noise.bits)
        records.append(_weighted_sum("sampler.guidance", "guidance", (noise,), combined))
        noise = combined
    sample = TensorUse(name="sample", elements=elements, bits=context.formats["sample"].bits)
    result = TensorUse(name="sampler.step", elements=elements, bits=sample.bits)
    return [*records, _weighted_sum("sampler.step", "ddim_step", (sample, noise), result)]


def _weighted_sum(name: str, op: str, inputs: tuple[TensorUse, ...], output: TensorUse) -> LayerRecord:
    return LayerRecord(
        name=name, op=op, module="sampler", inputs=inputs, output=output, vector={"add": output.elements}
    )
