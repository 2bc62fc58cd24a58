"""A run folder: what is written is what is read, and nothing else is taken for it."""

import json

import numpy as np
import pandas as pd
import pytest

from hqsim.analysis.run_folder import Run, is_run_folder, read_run, write_run
from hqsim.errors import InputError

MANIFEST = {"settings": {"model": "m", "recipe": "r-w4a4"}, "inputs": {"m": "0" * 64}}


@pytest.fixture
def run():
    return Run(
        name="r-w4a4",
        manifest=MANIFEST,
        layers=pd.DataFrame(
            {
                "layer": ["null", "b"],
                "path": ["", "x"],
                "group_size": pd.array([None, 32], dtype="Int64"),
                "symmetric": [True, False],
            }
        ),
        errors=pd.DataFrame({"layer": ["null", "b"], "sqnr_db": [np.inf, 1 / 3], "max_lsb": [1.5, np.nan]}),
        arrays={"histogram/null/0/none": np.arange(3)},
        operand_codes={"b/0/0": np.array([[-8, 7]], np.int8)},
    )


def test_round_trip(run, tmp_path):
    found = read_run(write_run(tmp_path / "run", run))
    assert found.name == "r-w4a4"
    assert found.settings == MANIFEST["settings"]
    assert found.manifest["inputs"] == MANIFEST["inputs"]
    assert found.layers["layer"].tolist() == ["null", "b"]
    assert found.layers["symmetric"].tolist() == [True, False]
    assert found.layers.loc[1, "group_size"] == 32
    assert np.isnan(found.layers.loc[0, "group_size"])
    assert found.errors["sqnr_db"].tolist() == [np.inf, pytest.approx(0.333333333)]
    assert np.isnan(found.errors.loc[1, "max_lsb"])
    assert found.arrays["histogram/null/0/none"].tolist() == [0, 1, 2]
    assert found.operand_codes["b/0/0"].dtype == np.int8
    assert found.activations.empty
    assert found.images == {}


def test_tables_are_plain_csv(run, tmp_path):
    folder = write_run(tmp_path / "run", run)
    names = ["arrays.safetensors", "codes.safetensors", "errors.csv", "layers.csv", "manifest.json"]
    assert sorted(path.name for path in folder.iterdir()) == names
    assert (folder / "errors.csv").read_bytes() == b"layer,sqnr_db,max_lsb\nnull,inf,1.5\nb,0.333333333,\n"


def test_the_same_run_gives_the_same_bytes(run, tmp_path):
    first = write_run(tmp_path / "a", run)
    second = write_run(tmp_path / "b", read_run(first))
    for name in ("arrays.safetensors", "codes.safetensors", "errors.csv", "layers.csv"):
        assert (first / name).read_bytes() == (second / name).read_bytes()


def test_a_changed_file_is_refused(run, tmp_path):
    folder = write_run(tmp_path / "run", run)
    (folder / "errors.csv").write_text("layer\n")
    with pytest.raises(InputError, match=r"errors\.csv: sha256 is"):
        read_run(folder)


def test_another_version_or_kind_is_refused(run, tmp_path):
    folder = write_run(tmp_path / "run", run)
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps({**manifest, "format_version": 7}))
    with pytest.raises(
        InputError, match=r"format_version: got 7, this hqsim reads 1; trace the model again$"
    ):
        read_run(folder)
    path.write_text(json.dumps({**manifest, "kind": "report"}))
    with pytest.raises(InputError, match=r"is a 'report' folder, not a 'trace' folder$"):
        read_run(folder)


def test_telling_run_folders(run, tmp_path):
    assert is_run_folder(write_run(tmp_path / "run", run))
    assert not is_run_folder(tmp_path)
    (tmp_path / "manifest.json").write_text("[]")
    assert not is_run_folder(tmp_path)
