"""Manifests: what they record, and damage, edits and mix-ups that they catch."""

import hashlib
import json
import subprocess
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest

import hqsim
from hqsim.errors import InputError
from hqsim.io.manifest import sha256_file, verify_manifest, write_manifest
from hqsim.io.tensors import read_tensors, write_tensors

# FIPS 180-2, appendix B.1, and the well-known digest of no bytes.
SHA256_ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
SHA256_EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "q"
    (path / "tables").mkdir(parents=True)
    (path / "config.json").write_bytes(b"abc")
    (path / "tables" / "empty.csv").write_bytes(b"")
    write_tensors(path / "model.safetensors", {"a": np.arange(64, dtype=np.int8)}, {})
    write_manifest(
        path,
        kind="quantized-model",
        format_version=1,
        settings={"recipe": "hqdm-w4a4", "seed": 0},
        inputs={"digits": SHA256_ABC},
    )
    return path


def refusal(folder, kind="quantized-model"):
    with pytest.raises(InputError) as caught:
        verify_manifest(folder, kind)
    return str(caught.value)


def edit(folder, change):
    path = folder / "manifest.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_sha256_of_published_vectors(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")
    (tmp_path / "empty").write_bytes(b"")
    assert sha256_file(tmp_path / "abc") == SHA256_ABC
    assert sha256_file(tmp_path / "empty") == SHA256_EMPTY
    with pytest.raises(InputError, match="absent: cannot be read: No such file"):
        sha256_file(tmp_path / "absent")


def test_manifest_records_files_versions_settings_and_inputs(folder):
    content = json.loads((folder / "manifest.json").read_text())
    assert sorted(content["files"]) == ["config.json", "model.safetensors", "tables/empty.csv"]
    assert content["files"]["config.json"] == {"sha256": SHA256_ABC, "size_bytes": 3}
    assert content["files"]["tables/empty.csv"] == {"sha256": SHA256_EMPTY, "size_bytes": 0}
    assert content["settings"] == {"recipe": "hqdm-w4a4", "seed": 0}
    assert content["inputs"] == {"digits": SHA256_ABC}
    assert sorted(content["versions"]) == ["diffusers", "hqsim", "numba", "numpy", "python", "torch"]
    assert content["versions"]["hqsim"] == hqsim.__version__
    assert content["versions"]["python"] == ".".join(str(part) for part in sys.version_info[:3])
    assert content["versions"]["torch"] == metadata.version("torch")
    age = datetime.now(UTC) - datetime.fromisoformat(content["created"])
    assert 0 <= age.total_seconds() < 60


def test_library_that_is_not_installed_has_no_version(tmp_path, monkeypatch):
    def absent(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", absent)
    write_manifest(tmp_path, kind="k", format_version=1, settings={}, inputs={})
    assert verify_manifest(tmp_path, "k").versions["torch"] is None


def test_two_manifests_differ_in_their_time_only(folder, monkeypatch):
    def again():
        write_manifest(folder, kind="k", format_version=1, settings={"b": 1, "a": 2}, inputs={})
        return json.loads((folder / "manifest.json").read_text())

    first, second = again(), again()
    assert first.pop("created")
    assert second.pop("created")
    assert first == second


def test_sound_folder_is_verified_and_its_manifest_returned(folder):
    manifest = verify_manifest(folder, "quantized-model")
    assert manifest.format_version == 1
    assert manifest.settings["recipe"] == "hqdm-w4a4"
    assert manifest.files["config.json"].size_bytes == 3


def test_tampered_body_that_safetensors_accepts_is_caught(folder):
    path = folder / "model.safetensors"
    expected = hashlib.sha256(path.read_bytes()).hexdigest()[:12]
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)
    assert read_tensors(path)[0]["a"][-1] == 62
    found = hashlib.sha256(raw).hexdigest()[:12]
    message = refusal(folder)
    assert message.startswith(f"{path}: sha256 is {found}, manifest.json says {expected} ")
    assert message.endswith("tampered or damaged; make it again or restore it")


def test_renamed_tensor_in_the_header_is_caught(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes().replace(b'"a":', b'"b":'))
    assert list(read_tensors(path)[0]) == ["b"]
    assert "tampered or damaged" in refusal(folder)


def test_all_bad_files_are_named_at_once(folder):
    (folder / "config.json").write_bytes(b"abd")
    (folder / "tables" / "empty.csv").unlink()
    (folder / "tables" / "stray.json").write_text("{}")
    lines = refusal(folder).split("\n")
    assert len(lines) == 3
    assert lines[0].startswith(f"{folder}/config.json: sha256 is ")
    assert lines[1].startswith(f"{folder}/tables/empty.csv: is listed in manifest.json but missing")
    assert lines[2] == f"{folder}/tables/stray.json: is not in manifest.json; take it out of the folder"


def test_notes_of_another_suffix_may_be_added(folder):
    (folder / "notes.md").write_text("mine")
    assert "notes.md" not in verify_manifest(folder, "quantized-model").files


def test_folder_of_another_kind(folder):
    assert refusal(folder, "trace") == f"{folder}: is a 'quantized-model' folder, not a 'trace' folder"


def test_no_folder_and_no_manifest(tmp_path):
    assert refusal(tmp_path / "absent").endswith("there is no such folder")
    assert "has no manifest.json; it was not made by hqsim, or its making was interrupted" in refusal(
        tmp_path
    )


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"\xff", b"[" * 100_000, b'{"kind": "quantized-model"}']
)
def test_damaged_manifest(content, folder):
    (folder / "manifest.json").write_bytes(content)
    assert refusal(folder).startswith(f"{folder}/manifest.json: damaged manifest")


@pytest.mark.parametrize(
    ("change", "where"),
    [
        (lambda m: m.update(format_version="1"), "format_version"),
        (lambda m: m.update(extra=1), "extra"),
        (lambda m: m["files"]["config.json"].update(sha256="abc"), "files.config.json.sha256"),
        (lambda m: m["files"]["config.json"].update(size_bytes=-1), "files.config.json.size_bytes"),
    ],
)
def test_edited_manifest_names_the_entry(change, where, folder):
    edit(folder, change)
    assert f"damaged manifest at '{where}': " in refusal(folder)


@pytest.mark.parametrize("name", ["../secret.json", "/etc/passwd", "tables/../../secret.json"])
def test_path_out_of_the_folder_is_refused(name, folder):
    edit(folder, lambda m: m["files"].update({name: m["files"]["config.json"]}))
    assert f"lists '{name}', which lies outside the folder" in refusal(folder)


@pytest.mark.parametrize("setting", [float("nan"), float("inf"), object(), np.int64(3)])
def test_setting_that_is_no_json_value(setting, tmp_path):
    with pytest.raises(InputError, match=r"manifest\.json: a setting is not a finite JSON value"):
        write_manifest(tmp_path, kind="k", format_version=1, settings={"x": setting}, inputs={})
    assert list(tmp_path.iterdir()) == []


def test_io_starts_neither_torch_nor_numba_nor_diffusers():
    script = (
        "import sys, tempfile; from pathlib import Path; import hqsim.io as io\n"
        "loaded = [getattr(io, name) for name in io.__all__]\n"
        "with tempfile.TemporaryDirectory() as folder:\n"
        "    io.write_manifest(Path(folder), kind='k', format_version=1, settings={}, inputs={})\n"
        "    io.verify_manifest(Path(folder), 'k')\n"
        "heavy = {'torch', 'numba', 'diffusers', 'pandas'} & set(sys.modules)\n"
        "print(sorted(heavy), len(loaded) == len(io.__all__))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=Path(hqsim.__file__).parents[1],
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == "[] True"


def test_unknown_name_in_io_is_an_attribute_error():
    with pytest.raises(AttributeError, match=r"module 'hqsim\.io' has no attribute 'absent'"):
        _ = hqsim.io.absent
