"""What the wheel is told to hold, and that the files which the code reads at run time are in it."""

import re
import tomllib
from pathlib import Path

import pytest

import hqsim

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def _pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


def _name(requirement: str) -> str:
    match = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert match
    return match[0].lower().replace("_", "-")


def test_version_is_the_same_everywhere():
    assert PROJECT["project"]["version"] == hqsim.__version__
    assert f"## [{hqsim.__version__}]" in (ROOT / "CHANGELOG.md").read_text()


def test_the_wheel_holds_the_machines():
    wheel = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel["packages"] == ["hqsim"]
    assert wheel["force-include"] == {"hw_models": "hqsim/_hw_models"}
    assert (ROOT / "hw_models" / "edge-npu-16x16.yaml").is_file()
    assert not (ROOT / "hqsim" / "_hw_models").exists(), "would be a second copy of hw_models"


@pytest.mark.parametrize(
    "pattern",
    [
        "py.typed",
        "quantize/recipes/*.yaml",
        "models/checkpoints/digits/unet/*.safetensors",
        "models/checkpoints/digits/scheduler/*.json",
        "models/checkpoints/digits-dit/transformer/*.safetensors",
        "models/checkpoints/digits/classifier.safetensors",
        "models/graphs/*.json.gz",
        "report/*.j2",
        "analysis/published_hqdm.csv",
    ],
)
def test_package_data_is_inside_the_package(pattern):
    assert list((ROOT / "hqsim").glob(pattern))


def test_no_packaged_file_is_ignored_by_git():
    """Hatch leaves out what .gitignore names: none of its patterns may match package data."""
    ignored_suffixes = {
        line.removeprefix("*")
        for line in (ROOT / ".gitignore").read_text().splitlines()
        if line.startswith("*.")
    }
    data = [
        path for path in (ROOT / "hqsim").rglob("*") if path.is_file() and "__pycache__" not in path.parts
    ]
    assert data
    assert not [path for path in data if path.suffix in ignored_suffixes]


def test_every_dependency_is_pinned():
    extras = PROJECT["project"]["optional-dependencies"]
    wanted = [*PROJECT["project"]["dependencies"], *extras["test"], *extras["train"]]
    pins = {_name(name) for name in _pins()}
    assert not {_name(requirement) for requirement in wanted} - pins


def test_torch_is_pinned_without_a_build_tag():
    assert _pins()["torch"] == "2.13.0"
    assert all(re.fullmatch(r"[0-9][0-9a-z.]*", version) for version in _pins().values())


def test_checkpoints_are_small_enough_to_ship():
    files = (ROOT / "hqsim" / "models" / "checkpoints").rglob("*.safetensors")
    assert all(path.stat().st_size <= 8_000_000 for path in files)


def test_the_licence_is_apache_2():
    assert PROJECT["project"]["license"] == "Apache-2.0"
    text = (ROOT / "LICENSE").read_text()
    assert "Apache License" in text
    assert "Version 2.0, January 2004" in text
    assert len(text.splitlines()) == 201
