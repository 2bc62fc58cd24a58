"""Input is checked before work starts."""

import re

import pytest

WORK = {"quantize", "simulate", "verify", "compare", "run_demo"}


def _verbs_with_out(quantized, out):
    return {
        "quantize": ["quantize", "digits", "--recipe", "hqdm-w4a4", "--out", out],
        "simulate": ["simulate", quantized, "--images", "2", "--out", out],
        "demo": ["demo", "--out", out],
    }


@pytest.mark.parametrize("verb", ["quantize", "simulate", "demo"])
def test_a_folder_that_is_not_empty_is_refused_first(hqsim, world, quantized, full_folder, verb):
    answer = hqsim(*_verbs_with_out(quantized, full_folder)[verb])
    assert answer.code == 2
    assert re.fullmatch(
        rf"hqsim: error: --out {re.escape(str(full_folder))}: the folder is not empty; .*\n", answer.err
    )
    assert world.calls == []


@pytest.mark.parametrize("verb", ["quantize", "simulate", "demo"])
def test_an_output_that_is_a_file_is_refused(hqsim, world, quantized, tmp_path, verb):
    path = tmp_path / "file"
    path.write_text("mine")
    answer = hqsim(*_verbs_with_out(quantized, path)[verb])
    assert answer.code == 2
    assert re.search(r"^hqsim: error: --out .*file: is a file; ", answer.err)
    assert path.read_text() == "mine"


def test_the_current_folder_is_refused(hqsim, world, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    answer = hqsim("quantize", "digits", "--recipe", "hqdm-w4a4", "--out", ".")
    assert answer.code == 2
    assert answer.err == "hqsim: error: --out .: is the current folder; give a new folder, like run.\n"
    assert world.calls == []


def test_a_link_is_refused(hqsim, world, tmp_path):
    (tmp_path / "target").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "target")
    answer = hqsim("demo", "--out", tmp_path / "link")
    assert answer.code == 2
    assert re.match(r"hqsim: error: --out .*/link: is a link or a mount point; ", answer.err)


def test_a_folder_below_a_file_is_refused(hqsim, world, tmp_path):
    (tmp_path / "file").write_text("mine")
    answer = hqsim("demo", "--out", tmp_path / "file" / "demo")
    assert answer.code == 2
    assert re.match(
        r"hqsim: error: --out .*/file/demo: '.*/file' is no folder that can be written; ", answer.err
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["quantize", "digts", "--recipe", "hqdm-w4a4", "--out", "never-made"],
            r"unknown model 'digts'; did you mean 'digits'\? Known: digits, ldm4-imagenet\.",
        ),
        (
            ["quantize", "digits", "--recipe", "hqdm-w4a", "--out", "never-made"],
            r"unknown recipe 'hqdm-w4a'; did you mean 'hqdm-w4a4'\? Known: .*",
        ),
        (
            ["estimate", "digits", "--hardware", "h200", "tpu-v4"],
            r"unknown hardware 'tpu-v4'; did you mean 'tpu-v4i'\? Known: edge-npu-16x16, h200, tpu-v4i\.",
        ),
        (
            ["estimate", "digits", "--hardware", "h200", "--recipe", "ptq-w8a"],
            r"unknown recipe 'ptq-w8a'; did you mean 'ptq-w8a8'\? Known: .*",
        ),
        (["estimate", "digits", "--hardware", ","], r"--hardware: no machine was given; 'hqsim hw list' .*"),
        (["verify", "digits"], r"'digits' is not the folder of a quantized model; make one with .*"),
        (["demo", "--recipe", "hqdm-w4a", "--out", "never-made"], r"unknown recipe 'hqdm-w4a'; .*"),
        (["models", "--json", "/no/such/folder/x.json"], r"--json /no/such/folder/x\.json: the folder .*"),
        (["estimate", "digits", "--hardware", "h200", "--csv", "."], r"--csv \.: is a folder; .*"),
        (
            ["estimate", "digits", "--hardware", "h200", "--timeline", "/no/such/t.json"],
            r"--timeline /no/such/t\.json: the folder '/no/such' does not exist; make it first\.",
        ),
        (
            ["estimate", "digits", "--hardware", "h200", "--roofline", "r.svg"],
            r"r\.svg: a figure cannot be a '\.svg' file; end its name in \.png or \.pdf\.",
        ),
        (
            ["estimate", "digits", "--hardware", "h200", "--mapping", "none.yaml"],
            r".*none\.yaml.*",
        ),
    ],
)
def test_bad_names_are_refused_before_any_work(hqsim, world, arguments, message):
    answer = hqsim(*arguments)
    assert answer.code == 2
    assert re.fullmatch(rf"hqsim: error: {message}\n", answer.err)
    assert not WORK & set(world.names())


@pytest.mark.parametrize("content", ['{"kind": "quantized-mod', "\x00\x01"])
def test_a_damaged_config_is_told(hqsim, world, tmp_path, content):
    (tmp_path / "config.json").write_text(content)
    answer = hqsim("verify", tmp_path)
    assert answer.code == 2
    assert re.match(rf"hqsim: error: {re.escape(str(tmp_path))}/config\.json: is not JSON ", answer.err)


@pytest.mark.parametrize("content", ["[]", "{}", '{"kind": "other"}'])
def test_a_folder_of_another_kind_goes_to_the_model_loader(hqsim, world, tmp_path, content):
    (tmp_path / "config.json").write_text(content)
    answer = hqsim("estimate", tmp_path, "--hardware", "h200")
    assert answer.code == 2
    assert world.last("load_model")[0] == (str(tmp_path),)
