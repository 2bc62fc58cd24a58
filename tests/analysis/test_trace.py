"""The whole measurement of a small model, and the example that ships in traces/."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import hqsim
from hqsim.analysis.ranking import worsened, worst_channels
from hqsim.analysis.run_folder import read_run, write_run
from hqsim.analysis.trace import PARTS, fingerprint, trace
from hqsim.cost.hardware import hardware_folder
from hqsim.errors import InputError
from hqsim.simulate.verify import matrix_layers

EXAMPLE = Path(__file__).resolve().parents[2] / "traces" / "example"
SMALL = {"steps": 2, "images": 1, "guidance": 1.0}


@pytest.fixture(scope="module")
def run(tiny_qmodel):
    return trace(tiny_qmodel, parts=["outliers", "codes", "cost"], machines=["edge-npu-16x16"], **SMALL)


def test_parts_that_were_not_asked_for_are_empty(run):
    for name in ("errors", "growth", "sensitivity", "quality"):
        assert getattr(run, name).empty
    assert not run.images
    assert not run.operand_codes
    assert run.settings["parts"] == ["outliers", "codes", "cost"]
    assert (run.name, run.settings["labels"]) == ("hqdm-w4a4", [0])


def test_the_table_of_layers_holds_what_was_observed(tiny_qmodel, run):
    assert run.layers["layer"].tolist() == [node.name for node in matrix_layers(tiny_qmodel)]
    highest = run.accumulators.groupby("layer", sort=False)["highest"].max()
    assert run.layers["accumulator_highest"].tolist() == highest.tolist()


def test_cost_of_one_image(tiny_qmodel, run):
    expected = hqsim.estimate(tiny_qmodel, "edge-npu-16x16", steps=2, guidance=1.0)
    assert run.cost.columns[0] == "machine"
    pd.testing.assert_frame_equal(run.cost.drop(columns="machine"), expected.layers)
    assert run.totals["machine"].tolist() == ["edge-npu-16x16"]


def test_a_machine_that_refuses_is_told(tiny_qmodel, tmp_path):
    """The edge NPU, were it to multiply 8 x 8 bits and nothing else."""
    path = tmp_path / "strict.yaml"
    edge = (hardware_folder() / "edge-npu-16x16.yaml").read_text()
    path.write_text(edge.replace("other_widths: passes", "other_widths: unsupported"))
    found = trace(tiny_qmodel, parts=["cost"], machines=[str(path), "tpu-v4i"], **SMALL)
    assert list(found.settings["refusals"]) == [str(path)]
    assert "needs a multiplier of" in found.settings["refusals"][str(path)]
    assert set(found.cost["machine"]) == {"tpu-v4i"}


def test_chosen_layers_alone_keep_arrays(tiny_qmodel, run):
    kept = trace(tiny_qmodel, parts=["outliers", "codes"], layers=["conv_in"], **SMALL)
    assert {name.split("/")[1] for name in kept.arrays if "/" in name} == {"conv_in"}
    assert set(kept.operand_codes) == {
        f"conv_in/0/{step}{end}" for step in (0, 1) for end in ("", "/operand")
    }
    for name, array in kept.arrays.items():
        np.testing.assert_array_equal(array, run.arrays[name])
    pd.testing.assert_frame_equal(kept.activations, run.activations)


def test_the_same_settings_give_the_same_bytes(tiny_qmodel, run, tmp_path):
    again = trace(tiny_qmodel, parts=["cost", "codes", "outliers"], machines=["edge-npu-16x16"], **SMALL)
    first, second = write_run(tmp_path / "a", run), write_run(tmp_path / "b", again)
    for path in first.iterdir():
        if path.name != "manifest.json":
            assert path.read_bytes() == (second / path.name).read_bytes()


def test_every_part_has_its_tables(tiny_qmodel):
    whole = trace(tiny_qmodel, machines=["edge-npu-16x16"], **SMALL)
    for name in ("errors", "growth", "sensitivity", "quality", "cost", "totals"):
        assert not getattr(whole, name).empty
    assert set(whole.images) >= {"float", "integer", "labels"}
    assert whole.settings["parts"] == list(PARTS)


def test_bad_requests_are_refused_before_any_work(tiny_qmodel):
    with pytest.raises(InputError, match=r"^unknown part 'code'; did you mean 'codes'\?"):
        trace(tiny_qmodel, parts=["code"])
    with pytest.raises(InputError, match=r"^machines: got tpu-v4i without the part 'cost'"):
        trace(tiny_qmodel, parts=["codes"], machines=["tpu-v4i"])
    with pytest.raises(InputError, match=r"^unknown hardware 'tpu-v4j'"):
        trace(tiny_qmodel, machines=["tpu-v4j"])
    with pytest.raises(InputError, match=r"^layers: 'conv_on' matches no layer"):
        trace(tiny_qmodel, layers=["conv_on"])
    with pytest.raises(InputError, match=r"^images: got 0, allowed 1 and more$"):
        trace(tiny_qmodel, images=0)


def test_fingerprints_tell_quantizations_apart(tiny_model, tiny_qmodel):
    again = hqsim.quantize(tiny_model, "hqdm-w4a4", steps=3, images=2, guidance=1.5)
    other = hqsim.quantize(tiny_model, "hqdm-w4a4", steps=2, images=2, guidance=1.5)
    assert fingerprint(again) == fingerprint(tiny_qmodel) != fingerprint(other)


def test_the_example_is_whole_and_small():
    example = read_run(EXAMPLE)
    assert example.settings["parts"] == list(PARTS)
    assert sum(path.stat().st_size for path in EXAMPLE.iterdir()) < 500_000
    assert example.settings["model"] == "digits"
    layers = set(example.layers["layer"])
    for name in ("activations", "weights", "codes", "accumulators", "errors", "sensitivity"):
        assert set(getattr(example, name)["layer"]) <= layers
    assert (example.accumulators["observed_bits"] <= 32).all()
    none = example.activations[example.activations["transform"] == "none"]
    assert np.allclose(none["crest"] * none["rms"], none["absolute_maximum"], rtol=1e-6)


def test_the_example_names_what_stands_out():
    example = read_run(EXAMPLE)
    worst = worst_channels(example.arrays)
    assert set(worst["layer"]) == {"mid_block.attentions.0.to_q"}
    assert worst["times_median"].is_monotonic_decreasing
    assert (worsened(example.activations)["change_db"] < 0).all()


def test_the_example_feeds_an_estimate():
    """Its zeros are those of digits under its recipe, which a float model takes too."""
    found = hqsim.estimate("digits", "eyeriss-v1", recipe="hqdm-channel-w4a4", steps=2, trace=EXAMPLE)
    plain = hqsim.estimate("digits", "eyeriss-v1", recipe="hqdm-channel-w4a4", steps=2)
    assert found.total["energy_pj"]["multiply"] < plain.total["energy_pj"]["multiply"]
