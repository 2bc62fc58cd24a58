"""``hqsim report``: run folders in, a page out, and nothing left behind when something is wrong."""

import json

import pytest

from hqsim.analysis.run_folder import write_run
from tests.report import run_frames as frames


@pytest.fixture(autouse=True)
def no_figures(monkeypatch):
    monkeypatch.setattr("hqsim.report.page.drawings_of", lambda page: ())


@pytest.fixture
def run_folders(tmp_path):
    """Return two run folders: one calm, one whose sums are too wide."""
    wide = frames.layers().assign(accumulator_bits=34)
    return [
        write_run(tmp_path / "calm", frames.calm_run("calm")),
        write_run(tmp_path / "wide", frames.calm_run("wide", layers=wide)),
    ]


def test_a_run_becomes_a_page(hqsim, run_folders, tmp_path):
    out = tmp_path / "page"
    answer = hqsim("report", run_folders[1], "--out", out)
    assert answer.code == 0
    assert answer.out.splitlines()[0] == "wide: 1 finding"
    assert "An accumulator of 34 bits is needed" in answer.out
    assert (out / "index.html").is_file() and (out / "errors.csv").is_file()


def test_several_runs_are_compared(hqsim, run_folders, tmp_path):
    answer = hqsim("report", *run_folders, "--out", tmp_path / "page", "--json", "-")
    found = json.loads(answer.out)
    assert [run["name"] for run in found["runs"]] == ["calm", "wide"]
    assert found["runs"][1]["findings"][0]["rule"] == "wide_accumulator"
    assert [item["question"] for item in found["answers"]][:1] == ["Which method is best at equal energy?"]


def test_the_same_runs_give_the_same_bytes(hqsim, run_folders, tmp_path):
    for name in ("one", "two"):
        assert hqsim("report", *run_folders, "--out", tmp_path / name, "--quiet").code == 0
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def test_a_folder_that_is_no_run_leaves_nothing(hqsim, run_folders, tmp_path):
    (tmp_path / "other").mkdir()
    answer = hqsim("report", run_folders[0], tmp_path / "other", "--out", tmp_path / "page")
    assert answer.code == 2 and "has no manifest.json" in answer.err
    assert not (tmp_path / "page").exists()


def test_a_full_folder_is_refused_before_any_work(hqsim, run_folders, tmp_path):
    answer = hqsim("report", tmp_path / "nowhere", "--out", run_folders[0])
    assert answer.code == 2 and "the folder is not empty" in answer.err
