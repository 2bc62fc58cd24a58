"""``compare``, ``diff`` and ``explain`` on real folders, and what they refuse before any work."""

import pytest

import hqsim as library
from hqsim.analysis.run_folder import write_run
from hqsim.analysis.trace import trace

LAYER = "down_blocks.0.resnets.0.conv1"


@pytest.fixture(scope="module")
def folders(tiny_qmodel, tmp_path_factory):
    """A quantized model and two runs of it, one and two steps, with the cost on a machine."""
    home = tmp_path_factory.mktemp("folders")
    tiny_qmodel.save(home / "q")
    for steps in (1, 2):
        run = trace(tiny_qmodel, parts=("codes", "cost"), steps=steps, images=1, machines=("edge-npu-16x16",))
        write_run(home / f"run{steps}", run)
    return home


def test_explain_tells_a_layer_in_words(hqsim, folders):
    answer = hqsim(
        "explain", folders / "q", LAYER, "--hardware", "edge-npu-16x16", "--trace", folders / "run2"
    )
    assert answer.code == 0
    assert "single Hadamard along width in blocks of 16 (k = 4)" in answer.out
    assert "cost on edge-npu-16x16, one step" in answer.out
    assert "sums seen" in answer.out
    found = hqsim("explain", folders / "q", LAYER, "--json", "-").json()
    assert found["layer"] == LAYER
    assert [row["timestep"] for row in found["scales"]] == [666, 333, 0]


def test_explain_reads_a_run(hqsim, folders):
    answer = hqsim("explain", folders / "run1", LAYER)
    assert answer.code == 0
    assert "as quantized" in answer.out and "single width k4" in answer.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["q", "conv1"], "unknown layer 'conv1'; nearest: "),
        (["run1", "conv_inn"], "unknown layer 'conv_inn'; nearest: conv_in"),
        (["run1", LAYER, "--hardware", "edge-npu-16x16"], "need the folder of a quantized model"),
        (["q", LAYER, "--hardware", "abacus"], "abacus"),
        (["nothing", LAYER], "is neither the folder of a quantized model"),
    ],
)
def test_explain_refuses(hqsim, folders, arguments, message):
    answer = hqsim("explain", folders / arguments[0], *arguments[1:])
    assert answer.code == 2
    assert message in answer.err


def test_diff_of_equal_runs(hqsim, folders):
    answer = hqsim("diff", folders / "run1", folders / "run1")
    assert answer.code == 0
    assert answer.out.splitlines()[0].endswith(": equal")
    assert hqsim("diff", folders / "run1", folders / "run1", "--json", "-").json()["equal"] is True


def test_diff_names_what_changed(hqsim, folders):
    answer = hqsim("diff", folders / "run1", folders / "run2")
    assert answer.code == 0
    assert "steps: 1 -> 2" in answer.out
    assert "Quality and totals" in answer.out
    changes = hqsim("diff", folders / "run1", folders / "run2", "--json", "-").json()["changes"]
    assert {change["part"] for change in changes} >= {"accumulators", "totals"}


def test_diff_refuses_what_is_no_run(hqsim, folders):
    answer = hqsim("diff", folders / "run1", folders / "q")
    assert answer.code == 2
    assert "not a 'trace' folder" in answer.err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "--recipes: none was given"),
        (["--recipes", "hqdm-w4a4", "--parts", "qualty"], "unknown part 'qualty'; did you mean 'quality'?"),
        (
            ["--recipes", "hqdm-w4a4", "--parts", "quality", "--hardware", "tpu-v4i"],
            "without the part 'cost'",
        ),
        (["--recipes", "hqdn-w4a4"], "unknown recipe 'hqdn-w4a4'; did you mean"),
        (["--recipes", "hqdm-w4a4", "--hardware", "abacus"], "abacus"),
        (["--grid", "nothing.yaml"], "nothing.yaml"),
    ],
)
def test_compare_refuses_before_any_work(hqsim, tmp_path, options, message):
    answer = hqsim("compare", "digits", *options, "--out", tmp_path / "x")
    assert answer.code == 2
    assert message in answer.err
    assert not (tmp_path / "x").exists()


def test_compare_writes_runs_models_and_page(hqsim, tiny_folder, tmp_path, monkeypatch):
    def write_page(page, folder):
        (folder / "index.html").write_text("a page of " + ", ".join(run.name for run in page.runs))
        return folder / "index.html"

    monkeypatch.setattr("hqsim.report.write_report", write_page)
    options = ["--parts", "cost", "--images", "1", "--steps", "1", "--jobs", "1", "--json", "-"]
    machines = ["--hardware", "edge-npu-16x16"]
    grid = tmp_path / "grid.yaml"
    grid.write_text("transforms: [none, width]\nsymmetric: [true]\norders: [4, 5]\n")
    out = tmp_path / "x"
    answer = hqsim("compare", tiny_folder, "--grid", grid, *machines, "--out", out, *options)
    assert answer.code == 0, answer.err
    found = answer.json()
    assert [row["run"] for row in found["table"]] == ["none-w4a4", "width-k4-w4a4", "width-k5-w4a4"]
    assert found["left_out"] == []
    assert {path.name for path in out.iterdir()} >= {"compare.json", "index.html", "models", "runs"}
    assert library.load_quantized(out / "models" / "none-w4a4").recipe.name == "none-w4a4"
