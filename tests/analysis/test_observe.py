"""What the integer run saw, against the exact executor's codes and bits counted one by one."""

import dataclasses

import numpy as np
import pytest

import hqsim
from hqsim.analysis.observe import TOGGLES, _Cell, observe
from hqsim.errors import InputError
from hqsim.ops import OPERATORS
from hqsim.ops.quantize import transform_of
from hqsim.ops.realisation import is_double, realised
from hqsim.ops.sums import operand_exact
from hqsim.simulate.executors import CodeExecutor
from hqsim.simulate.sampler import resolve_settings, start_run, step_contexts
from hqsim.simulate.verify import matrix_layers

LAYER = "down_blocks.0.resnets.0.conv1"


def _settings(qmodel, steps=2):
    return resolve_settings(qmodel, labels=None, images=2, steps=steps, guidance=1.0, seed=0)


@pytest.fixture(scope="module")
def found(tiny_qmodel):
    return observe(tiny_qmodel, _settings(tiny_qmodel), [LAYER, "*.pv"], lambda *_: None)


@pytest.fixture(scope="module")
def exact(tiny_qmodel):
    """Per layer of the first step: operands through the dense inverse, and the exact sums."""
    settings, runner = _settings(tiny_qmodel), CodeExecutor(tiny_qmodel, form="exact")
    x, context = start_run(tiny_qmodel, runner, settings), next(step_contexts(tiny_qmodel, settings))
    seen = {}
    for visit in runner.predict(x, context):
        if visit.node.op in ("conv2d", "linear", "matmul"):
            arrays = runner.arrays(visit.node, context.entry)
            inverse = None if is_double(visit.node) else transform_of(visit.node)
            operands = [
                operand_exact(visit.node, codes, zero_point, inverse) if inverse else codes
                for codes, zero_point in zip(visit.inputs, arrays["zero_points"], strict=True)
            ]
            sums, _ = OPERATORS[visit.node.op].sums_exact(visit.node, arrays, visit.inputs)
            seen[visit.node.name] = (visit.inputs, operands, sums)
    return seen


def test_a_row_per_operand_and_step(tiny_qmodel, found):
    codes, accumulators, _ = found
    layers = matrix_layers(tiny_qmodel)
    expected = [
        (node.name, operand, step)
        for node in layers
        for operand in range(len(node.inputs))
        for step in (0, 1)
    ]
    rows = codes.sort_values(["step", "operand"], kind="stable")
    assert sorted(expected) == sorted(rows[["layer", "operand", "step"]].itertuples(index=False, name=None))
    assert accumulators["layer"].tolist() == [node.name for node in layers for _ in (0, 1)]
    assert accumulators.loc[0, "timestep"] == codes.loc[0, "timestep"] == 500


def test_codes_are_those_of_the_exact_executor(found, exact):
    codes, accumulators, _ = found
    first = codes[codes["step"] == 0].set_index(["layer", "operand"])
    sums_of = accumulators[accumulators["step"] == 0].set_index("layer")
    for layer, (_, operands, sums) in exact.items():
        for number, operand in enumerate(operands):
            row = first.loc[layer, number]
            assert (row["lowest"], row["highest"]) == (operand.min(), operand.max())
            assert row["zero_percent"] == pytest.approx(100 * np.mean(operand == 0))
        seen = sums_of.loc[layer]
        assert seen["lowest"] == min(sums.min(), 0)
        assert seen["highest"] == max(sums.max(), 0)
        assert -(2 ** (seen["observed_bits"] - 1)) <= seen["lowest"]
        assert seen["highest"] < 2 ** (seen["observed_bits"] - 1)


def test_toggles_counted_bit_by_bit(found, exact):
    """Channels of a convolution, columns of the first and rows of the second attention operand."""
    codes, _, _ = found
    first = codes[codes["step"] == 0].set_index(["layer", "operand"])
    pv = next(name for name in exact if name.endswith(".pv"))
    for layer, number, axis in ((LAYER, 0, 1), (pv, 0, -1), (pv, 1, -2)):
        rows = np.moveaxis(np.asarray(exact[layer][1][number]), axis, -1).astype(np.int64)
        row = first.loc[layer, number]
        for bit, name in enumerate(TOGGLES):
            if np.isnan(row[name]):
                assert rows.max() < 2**bit
                assert rows.min() >= -(2**bit)
                continue
            values = (rows // 2**bit) % 2
            assert row[name] == pytest.approx(100 * np.mean(values[..., 1:] != values[..., :-1]))
    assert np.isnan(first.loc[("conv_in", 0), list(TOGGLES)].astype(float)).all(), "one channel alone"


def test_kept_codes_before_and_after_the_inverse(found, exact):
    _, _, arrays = found
    pv = [name for name in exact if name.endswith(".pv")]
    places = [f"{LAYER}/0", *(f"{name}/{operand}" for name in pv for operand in (0, 1))]
    assert set(arrays) == {
        f"{place}/{step}{end}" for place in places for step in (0, 1) for end in ("", "/operand")
    }
    stored, operands, _ = exact[LAYER]
    np.testing.assert_array_equal(arrays[f"{LAYER}/0/0"], stored[0])
    np.testing.assert_array_equal(arrays[f"{LAYER}/0/0/operand"], operands[0])
    assert arrays[f"{LAYER}/0/0"].dtype == np.int8


def test_saturated_codes_of_a_narrow_range(tiny_qmodel, found):
    """What the executor counts per quantizer over the run is what the steps' shares add up to."""
    codes, _, _ = found
    settings, runner = _settings(tiny_qmodel), CodeExecutor(tiny_qmodel, form="exact")
    x, context = start_run(tiny_qmodel, runner, settings), next(step_contexts(tiny_qmodel, settings))
    sizes = {visit.node.name: visit.value.size for visit in runner.predict(x, context)}
    first = codes[codes["step"] == 0]
    for row in first.to_dict("records"):
        name = tiny_qmodel.graph[row["layer"]].inputs[row["operand"]]
        assert row["saturated_percent"] == pytest.approx(100 * runner.saturated.get(name, 0) / sizes[name])
    assert first["saturated_percent"].max() > 0


def test_parity_halves_what_the_multiplier_gets(tiny_qmodel, found):
    nodes = tuple(
        realised(node, "parity") if node.op == "conv2d" and transform_of(node) else node
        for node in tiny_qmodel.graph
    )
    graph = dataclasses.replace(tiny_qmodel.graph, nodes=nodes)
    halved = dataclasses.replace(tiny_qmodel, graph=graph)
    codes, _, arrays = observe(halved, _settings(halved), [LAYER], lambda *_: None)
    whole = found[2][f"{LAYER}/0/0/operand"]
    np.testing.assert_array_equal(arrays[f"{LAYER}/0/0/operand"], whole >> 1)
    assert codes.set_index(["layer", "operand", "step"]).loc[(LAYER, 0, 0), "highest"] == whole.max() >> 1


def test_codes_with_a_zero_point_go_in_as_they_are(tiny_model):
    qmodel = hqsim.quantize(tiny_model, "ptq-asym-w4a4", steps=2, images=1, guidance=1.0)
    codes, _, _ = observe(qmodel, _settings(qmodel), [], lambda *_: None)
    row = codes.set_index(["layer", "operand", "step"]).loc[LAYER, 0, 0]
    assert 0 <= row["lowest"] <= row["highest"] <= 15
    assert np.isfinite(row[TOGGLES[3]])
    assert np.isnan(row[TOGGLES[4]])


def test_a_cell_by_hand():
    """Two rows of 3-bit codes: 0 -> 1 -> -1 changes bit 0, then bits 1 and 2; -4 -> 3 -> 3 all, then none."""
    cell = _Cell(3)
    rows = np.array([[0, 1, -1], [-4, 3, 3]], np.int8)
    cell.add(rows, rows)
    row = cell.row(saturated=3)
    assert (row["zero_percent"], row["saturated_percent"]) == pytest.approx((100 / 6, 50.0))
    assert (row["lowest"], row["highest"]) == (-4, 3)
    assert [row[name] for name in TOGGLES[:3]] == [50.0, 50.0, 50.0]
    assert all(np.isnan(row[name]) for name in TOGGLES[3:])


def test_a_pattern_without_a_layer_is_refused(tiny_qmodel):
    with pytest.raises(InputError, match=r"^layers: 'conv_on' matches no layer; layers are named like '"):
        observe(tiny_qmodel, _settings(tiny_qmodel), ["conv_on"], lambda *_: None)
