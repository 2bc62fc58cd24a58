"""``hqsim explain``: one layer of a quantized model, or of a run, in words and figures."""

from __future__ import annotations

import difflib
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hqsim.analysis.run_folder import Run
from hqsim.errors import InputError
from hqsim.graph import Node
from hqsim.numerics import Format
from hqsim.ops import OPERATORS, Multiply
from hqsim.ops.quantize import transform_of
from hqsim.ops.realisation import has_parity, inverse_of, is_double, multiplier_range, realisation_of
from hqsim.ops.segments import segments_of

if TYPE_CHECKING:
    from hqsim.cost import Estimate
    from hqsim.quantize import QuantizedModel

SUGGESTED = 5
REALISATIONS = {
    "runtime": "the inverse runs in front of the multiplier",
    "fold": "the inverse is part of the weights, so the multiplier gets the stored codes and wider weights",
    "parity": "the multiplier gets half of the operand, and one parity bit per block apart",
}


@dataclass(frozen=True)
class Section:
    """A heading and its lines: what, and the answer."""

    title: str
    lines: tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """One layer; ``scales`` are rows of ``operand``, ``timestep``, ``scale`` and ``zero_point``."""

    layer: str
    sections: tuple[Section, ...]
    scales: Sequence[Mapping[str, Any]] = field(default=())

    def to_json(self) -> dict[str, Any]:
        """Return plain values: the sections as mappings by title."""
        sections = {section.title: dict(section.lines) for section in self.sections}
        return {"layer": self.layer, "sections": sections, "scales": [dict(row) for row in self.scales]}


def explain_model(
    qmodel: QuantizedModel, layer: str, estimates: Mapping[str, Estimate], run: Run | None = None
) -> Explanation:
    """Explain a layer of a quantized model: work, formats, transform, widths, bound; then cost and errors.

    Parameters
    ----------
    qmodel
        The quantized model; its float weights are not read.
    layer
        Name of a matrix layer.
    estimates
        Estimates of that model by machine.
    run
        A run of that model, for what was measured.

    Raises
    ------
    InputError
        For a layer that the model or the run does not have.
    """
    from hqsim.simulate.verify import matrix_layers

    nodes = {node.name: node for node in matrix_layers(qmodel)}
    node = nodes[known_layer(layer, list(nodes))]
    sections = [
        Section("work", tuple(_work(qmodel, node))),
        Section("formats", tuple(_formats(qmodel, node))),
        Section("transform and widths", tuple(_widths(qmodel, node))),
    ]
    for machine, estimate in estimates.items():
        row = estimate.layers.set_index("name").loc[layer]
        sections.append(Section(f"cost on {machine}, one step", tuple(_cost(row))))
    if run is not None:
        sections += _measured(run, layer)
    return Explanation(layer=layer, sections=tuple(sections), scales=tuple(_scales(qmodel, node)))


def explain_run(run: Run, layer: str) -> Explanation:
    """Explain a layer by what a run holds of it: its row of the layer table, cost, errors.

    Raises
    ------
    InputError
        For a layer that the run does not have.
    """
    known_layer(layer, run.layers["layer"].tolist())
    row = run.layers.set_index("layer").loc[layer]
    lines = tuple((name.replace("_", " "), _plain(value)) for name, value in row.items())
    sections = [Section("as quantized", lines)]
    if not run.cost.empty:
        for row in run.cost[run.cost["name"] == layer].to_dict("records"):
            sections.append(Section(f"cost on {row['machine']}, one step", tuple(_cost(row))))
    return Explanation(layer=layer, sections=(*sections, *_measured(run, layer)))


def known_layer(layer: str, names: Sequence[str]) -> str:
    """Return ``layer`` if it is one of ``names``.

    Raises
    ------
    InputError
        With the nearest names: those that contain it, then those spelled alike.
    """
    if layer in names:
        return layer
    near = [name for name in names if layer and layer in name]
    alike = difflib.get_close_matches(layer, names, n=SUGGESTED, cutoff=0.4)
    near += [name for name in alike if name not in near]
    hint = f"nearest: {', '.join(near[:SUGGESTED])}" if near else f"the first of {len(names)} is '{names[0]}'"
    raise InputError(f"unknown layer '{layer}'; {hint}")


def _work(qmodel: QuantizedModel, node: Node) -> Iterator[tuple[str, str]]:
    from hqsim.ops import WorkContext

    operator = OPERATORS[node.op]
    assert isinstance(operator, Multiply)
    context = WorkContext(graph=qmodel.graph, formats=qmodel.formats, batch=1, accumulator_bits={})
    m, n, k, count = operator.matrix_work(node, context)
    yield "operator", f"{node.op}, module '{node.module}'"
    times = f"{count} products" if count > 1 else "one product"
    macs = f"{m * n * k * count:,} multiply-accumulates"
    yield "product", f"{times} [{m} x {k}] x [{k} x {n}] for one sample: {macs}"
    weight = qmodel.weights.get(node.parameters.get("weight", ""))
    if weight is not None:
        shape = " x ".join(str(size) for size in weight.shape)
        yield "weights", f"{math.prod(weight.shape):,} of shape {shape}"


def _formats(qmodel: QuantizedModel, node: Node) -> Iterator[tuple[str, str]]:
    for index, name in enumerate(node.inputs):
        operand, source = qmodel.formats[name], qmodel.graph[name].inputs[0]
        yield f"operand {index}", f"{_codes(operand)} of '{source}'; {_scale_text(operand, qmodel.timesteps)}"
    weight = qmodel.weights.get(node.parameters.get("weight", ""))
    if weight is not None:
        high = (1 << (weight.bits - 1)) - 1
        scales = weight.scales
        per = "output channel" if scales.shape[1] == 1 else "output channel and group"
        yield (
            "weights",
            f"{weight.bits}-bit codes {-high} to {high}; one scale per {per} ({scales.size}), "
            f"{scales.min():.4g} to {scales.max():.4g}",
        )
    output = qmodel.formats[node.name]
    yield "result", f"{_codes(output)}; {_scale_text(output, qmodel.timesteps)}"


def _codes(format_: Format) -> str:
    """Such as ``4-bit codes -8 to 7``; with exponents ``..., times 1 (24 channels) or 2 (8 channels)``."""
    even, powers = format_.even, Counter(1 << exponent for exponent in sorted(format_.exponents))
    times = " or ".join(f"{power} ({count} channels)" for power, count in powers.items())
    text = f"{even.bits}-bit codes {even.low} to {even.high}"
    return f"{text}, times {times}" if times else text


def _scale_text(format_: Format, timesteps: Sequence[int]) -> str:
    zeros = sorted(set(format_.zero_points))
    zero = ", symmetric" if zeros == [0] else f", zero-point {zeros[0]} to {zeros[-1]}"
    if len(format_.scales) == 1:
        return f"one scale {format_.scale:.4g}{zero}"
    first, last = format_.scales[0], format_.scales[-1]
    return (
        f"a scale for each of {len(format_.scales)} timesteps, {first:.4g} at {timesteps[0]} and {last:.4g} "
        f"at {timesteps[-1]}, {min(format_.scales):.4g} to {max(format_.scales):.4g} in between{zero}"
    )


def _widths(qmodel: QuantizedModel, node: Node) -> Iterator[tuple[str, str]]:
    from hqsim.simulate.verify import layer_widths

    widths = layer_widths(qmodel, node)
    operands = [qmodel.formats[name] for name in node.inputs]
    low, high = multiplier_range(node, operands[0])
    yield "transform", _transform(node)
    seen = f"{widths['multiplier_bits']} bits: "
    if inverse_of(node) is None:
        seen += "the stored codes themselves" if operands[0].signed else "the stored unsigned codes"
    else:
        size = 1 << node.integer("hadamard_order")
        seen += f"sums and differences of {size} codes reach {low:,} to {high:,}"
        seen += ", of which the multiplier gets the half" if has_parity(node) else ""
    yield "stored", f"{widths['storage_bits']} bits"
    yield "at the multiplier", seen
    yield "accumulator", _bound(qmodel, node, widths)


def _transform(node: Node) -> str:
    transform = transform_of(node)
    if transform is None:
        return "none"
    signs = "with fixed signs" if transform.signs else "without signs"
    text = f"Hadamard along {transform.axis} in blocks of {transform.size} (k = {transform.order}), {signs}; "
    if is_double(node):
        return "double " + text + "the weights are quantized in the transformed domain, so no inverse runs"
    return "single " + text + REALISATIONS[str(realisation_of(node))]


def _bound(qmodel: QuantizedModel, node: Node, widths: Mapping[str, Any]) -> str:
    """Where the proved width of the accumulator comes from."""
    operator = OPERATORS[node.op]
    assert isinstance(operator, Multiply)
    operands = [qmodel.formats[name] for name in node.inputs]
    arrays = qmodel.node_arrays(node)
    bounds = operator.bounds(node, arrays, operands)
    bound = max(bounds, key=lambda bound: bound.magnitude)
    reaches = [max(abs(end) for end in multiplier_range(node, operand)) for operand in operands]
    result = f"no sum beyond {bound.magnitude:,}: {bound.bits} bits with the sign, proved"
    if "weight" not in arrays:
        terms = node.integer("reduction")
        return f"{terms} terms of at most {reaches[0]:,} x {reaches[1]:,}: {result}"
    segments = segments_of(node, arrays["weight"].shape[1])
    side = segments[bounds.index(bound)].side
    norm = bound.magnitude // reaches[side] if reaches[side] else 0
    parts = f", the largest of {len(segments)} segments" if len(segments) > 1 else ""
    return (
        f"operands of at most {reaches[side]:,} times the largest sum of an output channel's weight codes, "
        f"{norm:,}{parts}: {result}"
    )


def _scales(qmodel: QuantizedModel, node: Node) -> Iterator[dict[str, Any]]:
    for index, name in enumerate(node.inputs):
        format_ = qmodel.formats[name]
        for entry, timestep in enumerate(qmodel.timesteps):
            yield {
                "operand": index,
                "timestep": timestep,
                "scale": format_.scale_at(entry),
                "zero_point": format_.zero_point_at(entry),
            }


def _cost(row: Any) -> Iterator[tuple[str, str]]:
    yield "time", f"{row['cycles']:,} cycles, {1e6 * row['latency_s']:.4g} us; bound by {row['bound_by']}"
    energy_pj = {
        name.removeprefix("energy_").removesuffix("_pj"): row[name]
        for name in dict(row)
        if name.startswith("energy_") and name != "energy_pj"
    }
    largest = sorted(energy_pj, key=lambda part: -energy_pj[part])
    percent = {part: 100 * energy_pj[part] / (row["energy_pj"] or 1) for part in largest}
    shares = ", ".join(f"{part} {share:.0f} %" for part, share in percent.items() if share >= 0.5)
    yield "energy", f"{1e-6 * row['energy_pj']:.4g} uJ: {shares}"
    yield "traffic", f"{row['dram_bytes']:,.0f} bytes of DRAM, {row['sram_bytes']:,.0f} bytes on chip"
    yield "multipliers", f"{row['unit']}, {100 * row['utilization']:.3g} % used"


def _measured(run: Run, layer: str) -> Iterator[Section]:
    """What a run measured of a layer; nothing where it holds no such part."""
    if layer not in set(run.layers["layer"]):
        raise InputError(
            f"the trace of '{run.name}' does not have layer '{layer}'; give a trace of this model"
        )
    lines = [*_errors(run, layer), *_sensitivity(run, layer), *_sums(run, layer)]
    if lines:
        yield Section(f"measured, {run.name}", tuple(lines))


def _errors(run: Run, layer: str) -> Iterator[tuple[str, str]]:
    from hqsim.analysis.errors import ALONE, NETWORK
    from hqsim.simulate.fakequant import FREE_RUNNING, TEACHER_FORCED

    if run.errors.empty:
        return
    titles = {
        ALONE: "SQNR against float, this layer alone quantized",
        NETWORK: "SQNR against float, all layers before it quantized too",
        TEACHER_FORCED: "SQNR against fake-quant on its own input",
        FREE_RUNNING: "SQNR against fake-quant, running free",
    }
    for mode, title in titles.items():
        rows = run.errors[(run.errors["layer"] == layer) & (run.errors["mode"] == mode)]
        if len(rows):
            worst = rows.loc[rows["sqnr_db"].idxmin()]
            text = f"{rows['sqnr_db'].mean():.1f} dB, "
            text += f"worst {worst['sqnr_db']:.1f} dB at timestep {worst['timestep']}"
            yield title, text


def _sensitivity(run: Run, layer: str) -> Iterator[tuple[str, str]]:
    if run.sensitivity.empty:
        return
    table = run.sensitivity.sort_values("share_percent", ascending=False, kind="stable")["layer"].tolist()
    row = run.sensitivity.set_index("layer").loc[layer]
    yield (
        "share of the final error",
        f"{row['share_percent']:.2f} %, number {table.index(layer) + 1} of {len(table)} layers",
    )
    yield "predicted noise, only this layer quantized", f"{row['one_on_db']:.1f} dB"
    yield "this layer in float, all others quantized", f"{row['gain_db']:+.2f} dB"


def _sums(run: Run, layer: str) -> Iterator[tuple[str, str]]:
    row = run.layers.set_index("layer").loc[layer]
    if not math.isnan(row["observed_bits"]):
        low, high = int(row["accumulator_lowest"]), int(row["accumulator_highest"])
        yield "sums seen", f"{low:,} to {high:,}: {int(row['observed_bits'])} bits"


def _plain(value: Any) -> str:
    if isinstance(value, float):
        return "not measured" if math.isnan(value) else f"{value:g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
