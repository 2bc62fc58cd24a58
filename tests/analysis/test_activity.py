"""Zeros, toggles and sums of a run, as the cost model gets them: by hand, then through an estimate."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from hqsim.analysis.activity import activity_of
from hqsim.analysis.estimate import compare, estimate, records_of
from hqsim.analysis.observe import TOGGLES
from hqsim.analysis.run_folder import Run, write_run
from hqsim.analysis.trace import trace
from hqsim.cost import load_hardware
from hqsim.cost.hardware import hardware_folder
from hqsim.errors import InputError
from hqsim.graph import LayerRecord, MatrixWork, TensorUse


def _record(name, sizes, weights=True):
    work = MatrixWork(
        m=1,
        n=1,
        k=1,
        count=1,
        a_storage_bits=4,
        w_storage_bits=4,
        a_multiplier_bits=4,
        w_multiplier_bits=4,
        accumulator_bits=20,
    )
    inputs = tuple(TensorUse(name=f"x{index}", elements=size, bits=4) for index, size in enumerate(sizes))
    return LayerRecord(
        name=name,
        op="conv2d" if weights else "matmul",
        module="",
        inputs=inputs,
        output=inputs[0],
        weights=inputs[0] if weights else None,
        matrix=work,
    )


def _codes(layer, operand, zeros, toggles):
    return [
        {
            "layer": layer,
            "operand": operand,
            "step": step,
            "zero_percent": zero,
            **dict.fromkeys(TOGGLES, np.nan),
            **{name: 100 * share for name, share in zip(TOGGLES, toggles, strict=False)},
        }
        for step, zero in enumerate(zeros)
    ]


def _run(codes, sums=()):
    sums = pd.DataFrame(sums, columns=["layer", "observed_bits"])
    return Run(
        name="r", manifest={"settings": {}, "inputs": {}}, codes=pd.DataFrame(codes), accumulators=sums
    )


def test_means_over_steps_and_sides():
    codes = [
        *_codes("split", 0, [10.0, 30.0], [0.5, 0.25]),
        *_codes("split", 1, [60.0, 60.0], [0.1, 0.05]),
        *_codes("pv", 0, [80.0, 90.0], [0.2]),
        *_codes("pv", 1, [0.0, 0.0], [0.9]),
        *_codes("alone", 0, [5.0, 5.0], []),
    ]
    records = [_record("split", (300, 100)), _record("pv", (10, 10), weights=False), _record("alone", (8,))]
    records.append(_record("not measured", (8,)))
    seen = activity_of(_run(codes, [("pv", 11), ("pv", 13)]), records)
    assert seen.zero_fractions == pytest.approx({"split": (3 * 0.2 + 0.6) / 4, "pv": 0.85, "alone": 0.05})
    assert seen.toggles["split"] == pytest.approx([(3 * 0.5 + 0.1) / 4, (3 * 0.25 + 0.05) / 4])
    assert seen.toggles["pv"] == pytest.approx([0.2])
    assert "alone" not in seen.toggles
    assert seen.accumulator_bits == {"pv": 13}


def test_a_run_without_codes_is_refused():
    with pytest.raises(InputError, match=r"^run 'r' holds no codes; trace the model with the part 'codes'"):
        activity_of(_run([]), [])


@pytest.fixture(scope="module")
def run(tiny_qmodel):
    return trace(tiny_qmodel, parts=["codes"], steps=2, images=1)


def test_zeros_spare_energy_on_a_machine_that_gates(tiny_qmodel, run, tmp_path):
    folder = write_run(tmp_path / "run", run)
    plain = estimate(tiny_qmodel, "eyeriss-v1", realisation="as_lowered")
    gated = estimate(tiny_qmodel, "eyeriss-v1", realisation="as_lowered", trace=folder)
    records = records_of(tiny_qmodel, recipe=None, batch=1, guidance=None, steps=20)
    zeros = activity_of(run, records).zero_fractions
    # This machine's multiplication and addition are one figure, its registers another.
    unit = load_hardware("eyeriss-v1").matrix[0]
    for before, after in zip(plain.costs, gated.costs, strict=True):
        saved = before.energy["multiply"].pj - after.energy["multiply"].pj
        expected = zeros.get(before.name, 0.0) * before.macs * unit.multiply_pj(16, 16).value
        assert saved == pytest.approx(expected, rel=1e-6, abs=1e-6)
    assert gated.total["cycles"] == plain.total["cycles"]


def test_accumulators_are_as_wide_as_the_sums_that_were_seen(tiny_qmodel, run):
    found = compare(tiny_qmodel, ["edge-npu-16x16"], trace=run).estimates["edge-npu-16x16"].layers
    widths = found.set_index("name")["accumulator_bits"]
    seen = run.accumulators.groupby("layer")["observed_bits"].max()
    assert widths[seen.index].tolist() == seen.tolist()
    proved = run.layers.set_index("layer")["accumulator_bits"]
    assert (seen <= proved[seen.index]).all()


def test_a_machines_file_with_a_figure_per_toggle_charges_the_runs_toggles(tiny_qmodel, run, tmp_path):
    """From the YAML and codes.csv alone: 0.01 pJ for each bit that changes beyond half of 8 or 16."""
    plain = hardware_folder() / "edge-npu-16x16.yaml"
    key = "    toggle_pj: {value: 0.01, source: a test}\n    other_widths: passes"
    machine = tmp_path / "toggling.yaml"
    machine.write_text(plain.read_text(encoding="utf-8").replace("    other_widths: passes", key))
    folder = write_run(tmp_path / "run", run)
    found = (estimate(tiny_qmodel, path, realisation="as_lowered", trace=folder) for path in (plain, machine))
    before, after = ({cost.name: cost for cost in one.costs} for one in found)
    first = pd.read_csv(folder / "codes.csv").query("operand == 0").groupby("layer")[list(TOGGLES)].mean()
    sides = run.codes.groupby("layer")["operand"].max()
    checked = set()
    for layer, percent in first.iterrows():
        cost, shares = after[layer], percent.dropna().to_numpy() / 100
        if (cost.op != "matmul" and sides[layer] > 0) or not len(shares):
            continue
        assert cost.multiplier_bits_w <= 8
        bits = 8 if cost.multiplier_bits_a <= 8 else 16
        changing = shares.sum() + (bits - len(shares)) * shares[-1]
        more_pj = cost.energy["multiply"].pj - before[layer].energy["multiply"].pj
        assert more_pj == pytest.approx(0.01 * (changing - bits / 2) * cost.macs, rel=1e-6)
        checked.add((cost.op, bits))
    assert {("conv2d", 8), ("matmul", 8)} <= checked
    for name, cost in after.items():
        assert cost.energy["sram"].pj == before[name].energy["sram"].pj
        assert cost.cycles == before[name].cycles


def test_a_run_of_something_else_is_refused(tiny_model, tiny_qmodel, run):
    with pytest.raises(
        InputError, match=r"^trace: recipe: got a run of 'hqdm-w4a4', but 'ptq-w8a8' is estim"
    ):
        estimate(tiny_model, "eyeriss-v1", recipe="ptq-w8a8", trace=run)
    with pytest.raises(InputError, match=r"^trace: model: got a run of 'tiny', but 'digits' is estimated"):
        estimate("digits", "eyeriss-v1", recipe="hqdm-w4a4", trace=run)
    name, weight = next(iter(tiny_qmodel.weights.items()))
    weights = {**tiny_qmodel.weights, name: dataclasses.replace(weight, scales=2 * weight.scales)}
    other = dataclasses.replace(tiny_qmodel, weights=weights)
    with pytest.raises(
        InputError, match=r"^trace: got a run of another quantization of 'tiny' by 'hqdm-w4a4'"
    ):
        estimate(other, "eyeriss-v1", trace=run)


def test_a_float_model_under_the_same_recipe_takes_the_run(tiny_model, tiny_qmodel, run):
    float_layers = estimate(tiny_model, "eyeriss-v1", recipe="hqdm-w4a4", trace=run).layers
    assert float_layers["macs"].sum() == estimate(tiny_qmodel, "eyeriss-v1", trace=run).layers["macs"].sum()
