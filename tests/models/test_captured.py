"""Captures that are kept: those in the package against new ones, the user's cache in all its states."""

import gc
import subprocess
import sys
from dataclasses import replace

import pytest

from hqsim.errors import InputError
from hqsim.models import captured as module
from hqsim.models.architecture import Architecture, Blueprint, Parameter
from hqsim.models.build import build
from hqsim.models.captured import GRAPHS, captured, read, shipped, write
from hqsim.models.load import blueprints
from hqsim.models.write_graphs import main
from tests.models.families import FAMILIES, PLAIN

BLUEPRINT = Blueprint(class_name="UNet2DModel", config=PLAIN, context=None, train_timesteps=1000)
EMBEDDED = ("digits", "digits-dit")
LONG = [
    pytest.param(name, marks=() if name in EMBEDDED else pytest.mark.slow) for name in (*EMBEDDED, *FAMILIES)
]


@pytest.fixture(scope="module")
def architecture():
    return build(BLUEPRINT)


@pytest.fixture
def cache(tmp_path, monkeypatch, architecture):
    """An empty cache; the list tells how many captures were made."""
    made = []
    monkeypatch.setattr(module, "cache_folder", lambda: tmp_path)
    monkeypatch.setattr("hqsim.models.build.build", lambda given: made.append(given) or architecture)
    return made


def test_every_built_in_model_is_there_and_is_the_one_that_is_described():
    assert {path.name for path in GRAPHS.iterdir()} == {f"{name}.json.gz" for name in blueprints()}
    for name, blueprint in blueprints().items():
        assert read(GRAPHS / f"{name}.json.gz")["blueprint"] == blueprint.to_json()


@pytest.mark.parametrize("name", LONG)
def test_what_is_shipped_is_what_is_captured(name):
    """If not: ``python -m hqsim.models.write_graphs``."""
    assert shipped(name) == build(blueprints()[name])


def test_a_built_in_model_needs_neither_torch_nor_numba():
    code = (
        "import sys\n"
        "from hqsim.models import list_models, load_model\n"
        "from hqsim.ops.records import layer_records\n"
        "from hqsim.quantize import load_recipe\n"
        "from hqsim.quantize.lower import lower, width_formats\n"
        "recipe, model = load_recipe('hqdm-w4a4'), load_model('ldm8-churches')\n"
        "lowered = lower(model.graph, recipe)\n"
        "layer_records(lowered, width_formats(lowered, recipe, {}), images=1, guided=False)\n"
        "list_models()\n"
        "print(sorted({'torch', 'numba', 'diffusers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("content", [None, b"", b"no gzip", b"\x1f\x8b\x08\x00"])
def test_a_damaged_file_of_the_package(tmp_path, monkeypatch, content):
    monkeypatch.setattr(module, "GRAPHS", tmp_path)
    shipped.cache_clear()
    if content is not None:
        (tmp_path / "digits.json.gz").write_bytes(content)
    with pytest.raises(
        InputError, match=r"digits\.json\.gz: not a captured graph \(.*\); install hqsim again$"
    ):
        shipped("digits")


def test_garbage_is_collected_again_after_a_capture(architecture):
    assert gc.isenabled()
    with pytest.raises(AttributeError, match="Unknown"):
        build(replace(BLUEPRINT, class_name="Unknown"))
    assert gc.isenabled()


def test_json_and_back(architecture):
    assert Architecture.from_json(architecture.to_json()) == architecture
    assert architecture.parameters["conv_in.weight"] == Parameter("product", (8, 4, 3, 3))
    assert architecture.sample_shape == (4, 16, 16)


def test_equal_content_gives_equal_bytes(tmp_path, architecture):
    for name in "ab":
        write(tmp_path / name, BLUEPRINT, architecture)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_the_second_time_it_comes_from_the_cache(cache, architecture):
    assert captured(BLUEPRINT) == architecture
    assert captured(BLUEPRINT) == architecture
    assert cache == [BLUEPRINT]


@pytest.mark.parametrize(
    "change",
    [
        {"class_name": "UNet2DConditionModel"},
        {"config": {**PLAIN, "act_fn": "gelu"}},
        {"train_timesteps": 10},
    ],
)
def test_what_decides_a_capture_decides_the_file(cache, change):
    captured(BLUEPRINT)
    captured(replace(BLUEPRINT, **change))
    assert cache == [BLUEPRINT, replace(BLUEPRINT, **change)]


@pytest.mark.parametrize("package", ["torch", "diffusers"])
def test_another_version_captures_anew(cache, monkeypatch, package):
    captured(BLUEPRINT)
    found = module.version
    monkeypatch.setattr(module, "version", lambda name: "0.0" if name == package else found(name))
    captured(BLUEPRINT)
    assert len(cache) == 2


def test_changed_sources_capture_anew(cache, monkeypatch, tmp_path):
    captured(BLUEPRINT)
    (tmp_path / "rule.py").write_text("changed")
    monkeypatch.setattr(module, "_SOURCES", (*module._SOURCES, tmp_path / "rule.py"))
    captured(BLUEPRINT)
    assert len(cache) == 2


@pytest.mark.parametrize("keep", [0, 5, 400, -1])
def test_a_damaged_file_is_made_again(cache, tmp_path, architecture, keep):
    captured(BLUEPRINT)
    (path,) = (tmp_path / "graphs").iterdir()
    path.write_bytes(path.read_bytes()[:keep])
    assert captured(BLUEPRINT) == architecture
    assert captured(BLUEPRINT) == architecture
    assert len(cache) == 2


def test_a_place_that_cannot_be_written_is_no_error(cache, tmp_path, architecture):
    (tmp_path / "graphs").write_text("a file where the folder should be")
    assert captured(BLUEPRINT) == architecture
    assert captured(BLUEPRINT) == architecture
    assert len(cache) == 2


def test_writing_the_files_of_the_package(tmp_path, monkeypatch, architecture):
    monkeypatch.setattr("hqsim.models.write_graphs.GRAPHS", tmp_path)
    monkeypatch.setattr("hqsim.models.write_graphs.build", lambda _: architecture)
    main(["sd15"])
    (path,) = tmp_path.iterdir()
    assert path.name == "sd15.json.gz"
    assert read(path)["blueprint"] == blueprints()["sd15"].to_json()
    assert Architecture.from_json(read(path)["architecture"]) == architecture
    main([])
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in GRAPHS.iterdir()}
