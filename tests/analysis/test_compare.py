"""A comparison of two recipes of the small UNet: its table, its fronts, and that a killed one goes on."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

import hqsim
from hqsim.analysis import compare_work as room
from hqsim.analysis.compare import CompareSettings, compare
from hqsim.analysis.comparison_table import on_front
from hqsim.errors import InputError
from hqsim.quantize import load_recipe

RECIPES = [load_recipe(name) for name in ("ptq-w4a4", "double-w4a4")]
MACHINE = "edge-npu-16x16"
SETTINGS = CompareSettings(images=2, steps=2, machines=(MACHINE,), parts=("quality", "cost"), untrained=True)


@pytest.fixture(scope="module")
def compared(tiny_model, tmp_path_factory):
    """The folder of a whole comparison, its runs and its tables."""
    out = tmp_path_factory.mktemp("compare") / "x"
    return out, *compare(tiny_model, RECIPES, out, settings=SETTINGS)


def test_the_table_holds_what_the_recipes_chose(compared):
    _, runs, comparison = compared
    table = comparison.table.set_index("run")
    assert [run.name for run in runs] == list(table.index) == ["ptq-w4a4", "double-w4a4"]
    assert table["transform"].tolist() == ["none", "double"]
    assert table["order"].tolist() == [0, 5]
    assert set(table["machine"]) == {MACHINE}
    assert not table["trained"].any()
    assert (table["multiplier_bits"] == 8).all()  # conv_in and conv_out; a double transform widens nothing
    assert np.isfinite(table[["sqnr_db", "latency_s", "energy_pj", "dram_bytes"]]).all(axis=None)
    assert (table["sqnr_low_db"] <= table["sqnr_db"]).all()


def test_weight_outliers_are_those_of_the_weights_without_the_part_outliers(compared, tiny_model):
    _, runs, comparison = compared
    names = {node.parameters["weight"] for node in tiny_model.graph if node.op in ("conv2d", "linear")}
    weights = [tiny_model.parameters[name].astype(np.float64) for name in names]
    crests = [np.abs(weight).max() / np.sqrt(np.square(weight).mean()) for weight in weights]
    assert comparison.table["weight_crest"][0] == pytest.approx(max(crests), rel=1e-6)
    assert comparison.table["weight_crest_median"][0] == pytest.approx(np.median(crests), rel=1e-6)
    assert all(run.activations.empty for run in runs)


def test_mean_widths_are_weighted(compared, tiny_model):
    """Stored: by the values of operands. Multiplied: by MACs, counted here from weights and shapes."""
    _, runs, comparison = compared
    layers = runs[0].layers
    row = comparison.table.iloc[0]
    assert row["multiplier_bits_mean"] == pytest.approx(
        np.average(layers["multiplier_bits"], weights=layers["macs"])
    )
    assert 4 < row["storage_bits"] < 8


def test_bytes_are_those_of_the_artefact_and_claims_need_their_recipes(compared):
    out, _, comparison = compared
    size = (out / "models" / "ptq-w4a4" / "model.safetensors").stat().st_size
    assert comparison.table["model_bytes"][0] == size
    judged = comparison.claims[comparison.claims["verdict"] != "not measured"]
    assert [claim.split(",")[0] for claim in judged["claim"]] == [
        "A double transform amplifies the outliers of weights"
    ]
    assert comparison.claims["claim"][0] == judged["claim"].iloc[0]


def test_what_is_complete_is_kept(compared, tiny_model, monkeypatch):
    """The same call again computes nothing and writes the same bytes."""
    out, _, _ = compared
    files = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    monkeypatch.setattr(hqsim, "quantize", None)
    monkeypatch.setattr(room, "trace", None)
    compare(tiny_model, RECIPES, out, settings=SETTINGS)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == files


@pytest.mark.slow
def test_processes_give_the_same_bytes(compared, tiny_model, tmp_path):
    """Two recipes at a time, in a folder beside the first."""
    out, _, _ = compared
    compare(tiny_model, RECIPES, tmp_path / "x", settings=SETTINGS, jobs=2)
    names = [path.relative_to(out) for path in out.rglob("*") if path.is_file()]
    for name in names:
        if name.name != "manifest.json":  # tells the time
            assert (tmp_path / "x" / name).read_bytes() == (out / name).read_bytes(), name


def test_a_killed_comparison_goes_on(compared, tiny_model, tmp_path, monkeypatch):
    _, _, whole = compared
    out, trace, calls = tmp_path / "x", room.trace, []

    def interrupted(qmodel, **options):
        calls.append(qmodel.recipe.name)
        if calls == ["ptq-w4a4", "double-w4a4"]:
            raise KeyboardInterrupt
        return trace(qmodel, **options)

    monkeypatch.setattr(room, "trace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        compare(tiny_model, RECIPES, out, settings=SETTINGS)
    assert sorted(path.name for path in (out / "runs").iterdir()) == ["ptq-w4a4"]
    _, resumed = compare(tiny_model, RECIPES, out, settings=SETTINGS)
    assert calls == ["ptq-w4a4", "double-w4a4", "double-w4a4"]
    pd.testing.assert_frame_equal(resumed.table, whole.table)


def test_other_settings_are_refused(compared, tiny_model):
    out, _, _ = compared
    changed = dataclasses.replace(SETTINGS, images=3)
    with pytest.raises(InputError, match=r"holds a comparison with other settings \(images: 2, now 3\)"):
        compare(tiny_model, RECIPES, out, settings=changed)


def test_another_recipe_of_the_same_name_is_refused(compared, tiny_model):
    out, _, _ = compared
    other = RECIPES[0].model_copy(update={"carriers": RECIPES[0].carriers.model_copy(update={"bits": 12})})
    with pytest.raises(InputError, match="holds another recipe called 'ptq-w4a4'"):
        compare(tiny_model, [other], out, settings=SETTINGS)


@pytest.mark.parametrize(
    ("recipes", "changes", "message"),
    [
        ([], {}, "^recipes: none was given"),
        (RECIPES[:1] * 2, {}, "^recipes: ptq-w4a4 given more than once"),
        (RECIPES, {"parts": ("quality", "costs")}, "^unknown part 'costs'; did you mean 'cost'?"),
        (RECIPES, {"parts": ("quality",)}, "^machines: got edge-npu-16x16 without the part 'cost'"),
        (RECIPES, {"machines": ("abacus",)}, "abacus"),
        (RECIPES, {"steps": 2000}, "^steps: got 2000"),
    ],
)
def test_bad_input_leaves_nothing(tiny_model, tmp_path, recipes, changes, message):
    out = tmp_path / "x"
    with pytest.raises(InputError, match=message):
        compare(tiny_model, recipes, out, settings=dataclasses.replace(SETTINGS, **changes))
    assert not out.exists()


def test_a_folder_of_something_else_is_refused(tiny_model, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="is no comparison and not empty"):
        compare(tiny_model, RECIPES, tmp_path, settings=SETTINGS)


def test_a_front_by_brute_force():
    """Nobody of the same machine is at least as good and at least as cheap; two machines apart."""
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "machine": rng.choice(["a", "b"], 60),
            "sqnr_db": rng.normal(size=60),
            "energy_pj": rng.uniform(1.0, 2.0, 60),
        }
    )
    table.loc[3, "sqnr_db"] = np.nan
    expected = []
    for index, row in table.iterrows():
        others = table[(table["machine"] == row["machine"]) & (table.index != index)]
        beaten = (others["sqnr_db"] >= row["sqnr_db"]) & (others["energy_pj"] <= row["energy_pj"])
        expected.append(bool(not beaten.any() and not np.isnan(row["sqnr_db"])))
    assert on_front(table, "energy_pj") == expected
    assert 2 <= sum(expected) < 20
