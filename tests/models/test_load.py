"""Loading: what a diffusers folder becomes, and every way in which it can be broken."""

import hashlib
import json
import re
import shutil

import numpy as np
import pytest

from hqsim.errors import InputError, UnsupportedError
from hqsim.io import read_tensors, write_tensors
from hqsim.models import load_model
from hqsim.models.load import WEIGHTS


@pytest.fixture
def broken(tiny_folder, tmp_path):
    """A copy of the small model to damage."""
    return shutil.copytree(tiny_folder, tmp_path / "broken")


def _rewrite_json(path, **changes):
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, **changes}))


def test_a_diffusers_folder(tiny_folder, tiny_module, tiny_model):
    assert tiny_model.name == "tiny"
    assert tiny_model.source == str(tiny_folder.resolve())
    assert tiny_model.sample_shape == (1, 16, 16)
    assert (tiny_model.classes, tiny_model.null_label, tiny_model.guidance) == (3, 3, 1.0)
    weights = (tiny_folder / "unet" / WEIGHTS).read_bytes()
    assert tiny_model.digest == hashlib.sha256(weights).hexdigest()
    state = tiny_module.state_dict()
    assert tiny_model.parameters.keys() == state.keys()
    assert all(np.array_equal(tiny_model.parameters[name], state[name].numpy()) for name in state)
    assert tiny_model.parameter_count == sum(parameter.numel() for parameter in tiny_module.parameters())


def test_a_path_is_as_good_as_its_text(tiny_folder, tiny_model):
    assert load_model(str(tiny_folder)).graph == tiny_model.graph


def test_the_embedded_model(digits_model):
    assert (digits_model.name, digits_model.source) == ("digits", "digits")
    assert digits_model.sample_shape == (1, 32, 32)
    assert (digits_model.classes, digits_model.null_label) == (10, 10)
    assert digits_model.schedule.train_timesteps == 1000
    assert digits_model.guidance > 1.0


def test_an_unconditional_model(tmp_path):
    from diffusers import DDIMScheduler, UNet2DModel

    module = UNet2DModel(
        sample_size=(8, 16),
        in_channels=3,
        out_channels=3,
        block_out_channels=(8,),
        down_block_types=("DownBlock2D",),
        up_block_types=("UpBlock2D",),
        norm_num_groups=4,
        add_attention=False,
    )
    module.save_pretrained(tmp_path / "plain" / "unet")
    DDIMScheduler().save_pretrained(tmp_path / "plain" / "scheduler")
    model = load_model(tmp_path / "plain")
    assert (model.classes, model.null_label) == (0, None)
    assert model.sample_shape == (3, 8, 16)
    assert [node.name for node in model.graph if node.op == "input"] == ["sample", "timestep"]


@pytest.mark.parametrize("name", ["digts", "digit", "Digits"])
def test_an_unknown_name_suggests_the_nearest(name):
    message = rf"^unknown model '{name}'; did you mean 'digits'\? Known: .*digits.*\.$"
    with pytest.raises(InputError, match=message):
        load_model(name)


def test_a_missing_folder(tmp_path):
    with pytest.raises(InputError, match=rf"^unknown model '{re.escape(str(tmp_path))}/none' ?"):
        load_model(tmp_path / "none")


@pytest.mark.parametrize(
    "missing", ["unet/config.json", "scheduler/scheduler_config.json", "unet", "scheduler"]
)
def test_a_missing_part(broken, missing):
    path = broken / missing
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    expected = {"unet": "unet/config.json", "scheduler": "scheduler/scheduler_config.json"}.get(
        missing, missing
    )
    message = (
        f"{broken / expected}: file not found; a diffusers folder holds unet/ or transformer/, and scheduler/"
    )
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        load_model(broken)


def test_missing_weights(broken):
    (broken / "unet" / WEIGHTS).unlink()
    with pytest.raises(InputError, match=f"^{re.escape(str(broken / 'unet' / WEIGHTS))}: "):
        load_model(broken)


def test_without_weights_they_need_not_be_there(broken, tiny_model):
    (broken / "unet" / WEIGHTS).unlink()
    model = load_model(broken, weights=False)
    assert model.graph == tiny_model.graph
    assert (model.parameters, model.digest) == ({}, "")
    assert (model.sample_shape, model.classes) == (tiny_model.sample_shape, tiny_model.classes)


def test_an_architecture_without_weights_draws_none():
    whole, bare = load_model("ldm8-churches"), load_model("ldm8-churches", weights=False)
    assert (bare.graph, bare.sample_shape) == (whole.graph, whole.sample_shape)
    assert (bare.parameters, bare.digest) == ({}, "")


def test_another_class(broken):
    path = broken / "unet" / "config.json"
    _rewrite_json(path, _class_name="AutoencoderKL")
    message = (
        f"{path}: _class_name: got 'AutoencoderKL', supported: 'UNet2DModel', 'UNet2DConditionModel', "
        "'DiTTransformer2DModel'"
    )
    with pytest.raises(UnsupportedError, match=f"^{re.escape(message)}$"):
        load_model(broken)


def test_a_schedule_that_the_sampler_does_not_have(broken):
    path = broken / "scheduler" / "scheduler_config.json"
    _rewrite_json(path, prediction_type="sample")
    message = f"{path}: prediction_type: got 'sample', supported: 'epsilon'"
    with pytest.raises(UnsupportedError, match=f"^{re.escape(message)}$"):
        load_model(broken)


def test_an_operator_that_the_integers_do_not_have(broken):
    _rewrite_json(broken / "unet" / "config.json", act_fn="relu")
    with pytest.raises(
        UnsupportedError,
        match=r"^module 'down_blocks\.0\.resnets\.0\.nonlinearity': operator 'aten\.relu\.default'",
    ):
        load_model(broken)


def test_an_embedding_of_labels_that_the_integers_do_not_have(broken):
    _rewrite_json(broken / "unet" / "config.json", class_embed_type="timestep")
    with pytest.raises(
        UnsupportedError, match=r"^UNet2DModel: class_embed_type: got 'timestep', supported: null$"
    ):
        load_model(broken)


@pytest.mark.parametrize(
    ("text", "message"), [("{", "not valid JSON: "), ("[1]", "must hold a JSON object, not list")]
)
def test_a_damaged_config(broken, text, message):
    path = broken / "unet" / "config.json"
    path.write_text(text)
    with pytest.raises(InputError, match=f"^{re.escape(f'{path}: {message}')}"):
        load_model(broken)


@pytest.mark.parametrize("keep", [0, 7, 100, 0.5, 0.999])
def test_truncated_weights(broken, keep):
    path = broken / "unet" / WEIGHTS
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content)) if isinstance(keep, float) else keep])
    with pytest.raises(InputError, match=f"^{re.escape(str(path))}: not a sound safetensors file: "):
        load_model(broken)


def _tamper(folder, change):
    path = folder / "unet" / WEIGHTS
    tensors, metadata = read_tensors(path)
    change(tensors)
    write_tensors(path, tensors, metadata)
    return path


def test_a_tensor_of_another_shape(broken, tiny_model):
    path = _tamper(broken, lambda t: t.update({"conv_in.weight": t["conv_in.weight"].reshape(8, 1, 9, 1)}))
    message = (
        f"{path}: 1 of {len(tiny_model.parameters)} tensors do not fit config.json, first 'conv_in.weight': "
        "expected (8, 1, 3, 3), found (8, 1, 9, 1); use the folder as it was saved"
    )
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        load_model(broken)


def test_a_missing_tensor(broken):
    path = _tamper(broken, lambda t: [t.pop("conv_in.bias"), t.pop("conv_out.bias")])
    message = rf"^{re.escape(str(path))}: 2 of \d+ tensors .* 'conv_in\.bias': expected \(8,\), found none; "
    with pytest.raises(InputError, match=message):
        load_model(broken)


def test_a_superfluous_tensor(broken):
    path = _tamper(broken, lambda t: t.update({"added": np.zeros(3, np.float32)}))
    with pytest.raises(
        InputError, match=rf"^{re.escape(str(path))}: 1 of .* 'added': expected none, found \(3,\); "
    ):
        load_model(broken)


def test_changed_weights_of_an_embedded_model_are_refused(tmp_path, monkeypatch):
    """One bit of the weights: still a valid safetensors file, no longer the model."""
    from hqsim.models import load

    copy = tmp_path / "digits"
    shutil.copytree(load.CHECKPOINTS / "digits", copy)
    weights = copy / "unet" / load.WEIGHTS
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    monkeypatch.setattr(load, "CHECKPOINTS", tmp_path)
    with pytest.raises(
        InputError, match=rf"^{re.escape(str(weights))}: sha256 is \w{{12}}, expected 37a8bd6d1b01: "
    ):
        load_model("digits")
