"""The folder of a quantized model: what comes back, how small it is, and what is refused."""

import json
import re
import shutil

import numpy as np
import pytest

import hqsim
from hqsim.errors import InputError
from hqsim.io import read_tensors, write_manifest, write_tensors
from hqsim.models.load import CHECKPOINTS, WEIGHTS
from hqsim.quantize import load_quantized
from hqsim.quantize.quantized_model import FORMAT_VERSION, KIND

FILES = ("config.json", "model.safetensors", "manifest.json")


@pytest.fixture(scope="module")
def saved(tiny_qmodel, tmp_path_factory):
    return tiny_qmodel.save(tmp_path_factory.mktemp("artefacts") / "q")


@pytest.fixture
def broken(saved, tmp_path):
    """A copy to damage."""
    return shutil.copytree(saved, tmp_path / "broken")


@pytest.fixture(scope="module")
def loaded(saved):
    return load_quantized(saved)


def test_the_files(saved):
    assert sorted(path.name for path in saved.iterdir()) == sorted(FILES)


def test_the_graph_comes_back(loaded, tiny_qmodel):
    """Every node: name, operator, inputs, shape, attributes with their types, parameters, module."""
    assert loaded.graph == tiny_qmodel.graph
    for ours, theirs in zip(loaded.graph, tiny_qmodel.graph, strict=True):
        kinds = [{key: type(value) for key, value in node.attributes.items()} for node in (ours, theirs)]
        assert kinds[0] == kinds[1]


def test_formats_recipe_and_source_come_back(loaded, tiny_qmodel):
    assert loaded.formats == tiny_qmodel.formats
    assert loaded.recipe == tiny_qmodel.recipe
    assert (loaded.timesteps, loaded.seed) == (tiny_qmodel.timesteps, tiny_qmodel.seed)
    for name in ("name", "source", "digest", "sample_shape", "classes", "null_label", "guidance"):
        assert getattr(loaded.model, name) == getattr(tiny_qmodel.model, name)
    ours, theirs = loaded.model.schedule, tiny_qmodel.model.schedule
    assert np.array_equal(ours.alphas_cumprod, theirs.alphas_cumprod)
    assert (ours.final_alpha, ours.steps_offset, ours.clip) == (
        theirs.final_alpha,
        theirs.steps_offset,
        theirs.clip,
    )


def test_weights_come_back(loaded, tiny_qmodel):
    assert loaded.weights.keys() == tiny_qmodel.weights.keys()
    for name, weight in tiny_qmodel.weights.items():
        found = loaded.weights[name]
        assert (found.codes.dtype, found.bits) == (np.int8, weight.bits)
        assert np.array_equal(found.codes, weight.codes)
        assert np.array_equal(found.scales, weight.scales)


def test_integer_parameters_come_back_with_their_types(loaded, tiny_qmodel):
    assert loaded.arrays.keys() == tiny_qmodel.arrays.keys()
    for node, arrays in tiny_qmodel.arrays.items():
        assert loaded.arrays[node].keys() == arrays.keys()
        for name, array in arrays.items():
            found = loaded.arrays[node][name]
            assert (found.dtype, found.shape) == (array.dtype, array.shape), (node, name)
            assert np.array_equal(found, array), (node, name)


def test_a_small_table_keeps_its_type(tiny_model, tmp_path):
    """Codes that fit into 8 bits are stored in 8 bits, and are 16-bit carriers again when loaded."""
    from dataclasses import replace

    name = "class_embedding.weight"
    parameters = {**tiny_model.parameters, name: tiny_model.parameters[name] * 1e-9}
    qmodel = hqsim.quantize(replace(tiny_model, parameters=parameters), "hqdm-w4a4", steps=1, images=1)
    table = qmodel.arrays["class_embedding"]["table"]
    assert np.abs(table).max() < 128
    found = load_quantized(qmodel.save(tmp_path / "q")).arrays["class_embedding"]["table"]
    assert found.dtype == table.dtype == np.int16
    assert np.array_equal(found, table)


def test_loaded_and_saved_again_the_bytes_are_the_same(loaded, saved, tmp_path):
    again = loaded.save(tmp_path / "again")
    for name in ("config.json", "model.safetensors"):
        assert (again / name).read_bytes() == (saved / name).read_bytes()


def test_loaded_it_makes_the_same_images(loaded, tiny_qmodel):
    ours, theirs = (hqsim.simulate(q, labels=[0, 2], steps=2, seed=3) for q in (loaded, tiny_qmodel))
    assert np.array_equal(ours.codes, theirs.codes)
    assert ours.saturated == theirs.saturated


def _packed_bytes(qmodel):
    return sum(-(-weight.codes.size * weight.bits // 8) for weight in qmodel.weights.values())


@pytest.mark.parametrize("recipe", ["hqdm-w4a4", "ptq-w3a8"])
def test_codes_are_really_packed(tiny_model, tmp_path, recipe):
    """The bytes in the file are those of the codes at their width, and nothing else."""
    qmodel = hqsim.quantize(tiny_model, recipe, steps=1, images=1)
    tensors, _ = read_tensors(qmodel.save(tmp_path / "q") / "model.safetensors")
    codes = {name.removeprefix("codes/"): t for name, t in tensors.items() if name.startswith("codes/")}
    assert codes.keys() == qmodel.weights.keys()
    assert sum(tensor.nbytes for tensor in codes.values()) == _packed_bytes(qmodel)
    assert {tensor.dtype for tensor in codes.values()} == {np.dtype(np.uint8)}


def test_two_int4_share_a_byte(tiny_qmodel, saved):
    """By hand: the first code in the low nibble."""
    tensors, _ = read_tensors(saved / "model.safetensors")
    name = "mid_block.resnets.0.conv1.weight"
    codes = tiny_qmodel.weights[name].codes.reshape(-1)
    packed = tensors[f"codes/{name}"]
    assert packed.size == codes.size // 2
    assert (packed & 15).tolist() == (codes[0::2] % 16).tolist()
    assert (packed >> 4).tolist() == (codes[1::2] % 16).tolist()


def test_digits_takes_less_than_a_quarter_of_the_float_checkpoint(digits_model, tmp_path):
    """20 timesteps of tables included; the codes themselves are an eighth."""
    qmodel = hqsim.quantize(digits_model, "hqdm-channel-w4a4", steps=20, images=1)
    size = (qmodel.save(tmp_path / "q") / "model.safetensors").stat().st_size
    checkpoint = (CHECKPOINTS / "digits" / "unet" / WEIGHTS).stat().st_size
    assert _packed_bytes(qmodel) == pytest.approx(checkpoint / 8, rel=0.02)
    assert _packed_bytes(qmodel) < size < 0.25 * checkpoint


def test_a_folder_that_is_not_empty(tiny_qmodel, tmp_path):
    (tmp_path / "note.txt").write_text("mine")
    with pytest.raises(InputError, match=rf"^{re.escape(str(tmp_path))}"):
        tiny_qmodel.save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["note.txt"]


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_missing_file(broken, name):
    (broken / name).unlink()
    with pytest.raises(
        InputError, match=f"^{re.escape(str(broken / name))}: is listed in manifest.json but missing; "
    ):
        load_quantized(broken)


def test_a_missing_manifest(broken):
    (broken / "manifest.json").unlink()
    with pytest.raises(
        InputError, match=f"^{re.escape(str(broken))}: has no manifest.json; it was not made by hqsim"
    ):
        load_quantized(broken)


def test_a_missing_folder(tmp_path):
    with pytest.raises(InputError, match=f"^{re.escape(str(tmp_path))}/none: there is no such folder$"):
        load_quantized(tmp_path / "none")


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
@pytest.mark.parametrize("keep", [0, 10, 0.5])
def test_a_truncated_file(broken, name, keep):
    content = (broken / name).read_bytes()
    (broken / name).write_bytes(content[: int(len(content) * keep) if isinstance(keep, float) else keep])
    message = rf"^{re.escape(str(broken / name))}: sha256 is \w+, .* \(\d+ bytes, {len(content)} expected\): "
    with pytest.raises(InputError, match=message):
        load_quantized(broken)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_one_changed_bit(broken, name):
    content = bytearray((broken / name).read_bytes())
    content[len(content) // 2] ^= 1
    (broken / name).write_bytes(content)
    with pytest.raises(
        InputError, match=f"^{re.escape(str(broken / name))}: sha256 is .* tampered or damaged; "
    ):
        load_quantized(broken)


def test_a_damaged_manifest(broken):
    (broken / "manifest.json").write_text("{")
    with pytest.raises(InputError, match=f"^{re.escape(str(broken))}/manifest.json: damaged manifest: "):
        load_quantized(broken)


def test_a_folder_of_another_kind(broken):
    _sign(broken, kind="samples")
    message = rf"^{re.escape(str(broken))}: is a 'samples' folder, not a 'quantized-model' folder$"
    with pytest.raises(InputError, match=message):
        load_quantized(broken)


def _sign(folder, kind=KIND):
    """Write a manifest that fits the (changed) files."""
    (folder / "manifest.json").unlink()
    write_manifest(folder, kind=kind, format_version=FORMAT_VERSION, settings={}, inputs={})


def test_another_format_version(broken):
    path = broken / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format_version": 99}))
    _sign(broken)
    message = f"{path}: format_version: got 99, this hqsim reads {FORMAT_VERSION}; quantize the model again"
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        load_quantized(broken)


def test_codes_of_the_wrong_length(broken):
    """Even under a manifest that fits."""
    path = broken / "model.safetensors"
    tensors, metadata = read_tensors(path)
    tensors["codes/conv_in.weight"] = tensors["codes/conv_in.weight"][:-1]
    write_tensors(path, tensors, metadata)
    _sign(broken)
    with pytest.raises(
        InputError, match=r"^72 codes of 8 bits \(shape \(8, 1, 3, 3\)\) take 72 bytes, not 71$"
    ):
        load_quantized(broken)


def test_the_float_model_is_found_again(loaded, tiny_model):
    assert loaded.source.graph == tiny_model.graph


def test_changed_source_weights_are_detected(tiny_folder, tmp_path):
    folder = shutil.copytree(tiny_folder, tmp_path / "mine")
    qmodel = hqsim.quantize(folder, "ptq-w8a8", steps=1, images=1)
    path = folder / "unet" / WEIGHTS
    tensors, metadata = read_tensors(path)
    tensors["conv_in.bias"] = tensors["conv_in.bias"] + 1
    write_tensors(path, tensors, metadata)
    message = (
        rf"^model '{re.escape(str(folder))}': its weights have changed since it was quantized "
        rf"\(sha256 [0-9a-f]{{12}}, expected {qmodel.model.digest[:12]}\); quantize it again$"
    )
    with pytest.raises(InputError, match=message):
        _ = qmodel.source


def test_a_config_without_its_keys_under_a_new_manifest(broken):
    path = broken / "config.json"
    config = json.loads(path.read_text())
    del config["timesteps"]
    path.write_text(json.dumps(config))
    _sign(broken)
    with pytest.raises(
        InputError, match=r"do not make a model \(KeyError: 'timesteps'\); quantize the model again$"
    ):
        load_quantized(broken)
