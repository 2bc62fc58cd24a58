"""Runs: settings, determinism, and the float executor against diffusers' own pipeline."""

import numba
import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler

import hqsim
from hqsim.errors import InputError
from hqsim.simulate import simulate
from hqsim.simulate.sampler import initial_noise, picture, resolve_settings


def test_the_float_executor_samples_what_diffusers_samples(tiny_module, tiny_folder, tiny_qmodel):
    guidance, steps, labels = 1.5, 4, [2, 0]
    ours = simulate(tiny_qmodel, executor="float", labels=labels, steps=steps, guidance=guidance, seed=3)
    settings = resolve_settings(
        tiny_qmodel, labels=labels, images=None, steps=steps, guidance=guidance, seed=3
    )
    x = torch.from_numpy(initial_noise(tiny_qmodel, settings) * tiny_qmodel.formats["sample"].scale).float()
    scheduler = DDIMScheduler.from_pretrained(tiny_folder / "scheduler")
    scheduler.set_timesteps(steps)
    with torch.no_grad():
        for timestep in scheduler.timesteps:
            plain = tiny_module(x, timestep, class_labels=torch.tensor([3, 3])).sample
            noise = tiny_module(x, timestep, class_labels=torch.tensor(labels)).sample
            x = scheduler.step(plain + guidance * (noise - plain), timestep, x).prev_sample
    assert np.abs(ours.latents - x.double().numpy()).max() < 1e-4


@pytest.mark.parametrize("executor", ["integer", "exact", "fakequant", "float"])
def test_the_same_seed_gives_the_same_bytes(tiny_qmodel, executor):
    first, second = (
        simulate(tiny_qmodel, executor=executor, labels=[1, 2], steps=2, seed=5) for _ in range(2)
    )
    assert first.codes.dtype == np.uint8
    assert first.codes.shape == (2, 1, 16, 16)
    assert first.latents.tobytes() == second.latents.tobytes()
    other = simulate(tiny_qmodel, executor=executor, labels=[1, 2], steps=2, seed=6)
    assert first.latents.tobytes() != other.latents.tobytes()


def test_an_image_does_not_depend_on_its_neighbours(tiny_qmodel):
    """Nor on where the run is cut into chunks: 16 images go together."""
    labels = [index % 3 for index in range(18)]
    few = simulate(tiny_qmodel, labels=labels[:2], steps=2)
    many = simulate(tiny_qmodel, labels=labels, steps=2)
    assert (few.codes == many.codes[:2]).all()
    shifted = simulate(tiny_qmodel, labels=labels[:17], steps=2)
    assert (shifted.codes[16] == many.codes[16]).all()
    assert not (many.codes[16] == many.codes[0]).all()


def test_the_number_of_threads_does_not_change_a_byte(tiny_qmodel):
    threads = numba.get_num_threads()
    try:
        numba.set_num_threads(1)
        one = simulate(tiny_qmodel, labels=[0, 1], steps=2)
    finally:
        numba.set_num_threads(threads)
    assert one.latents.tobytes() == simulate(tiny_qmodel, labels=[0, 1], steps=2).latents.tobytes()


def test_a_saved_model_samples_the_same_images(tiny_qmodel, tmp_path):
    tiny_qmodel.save(tmp_path / "q")
    again = hqsim.load_quantized(tmp_path / "q")
    assert (
        simulate(again, labels=[0, 1], steps=2).codes == simulate(tiny_qmodel, labels=[0, 1], steps=2).codes
    ).all()


def test_samples_are_saved_with_pictures_and_a_manifest(tiny_qmodel, tmp_path):
    from matplotlib.image import imread

    from hqsim.io import read_tensors, verify_manifest

    samples = simulate(tiny_qmodel, labels=[0, 2], steps=1)
    folder = samples.save(tmp_path / "images")
    assert verify_manifest(folder, "samples").settings["labels"] == [0, 2]
    tensors, metadata = read_tensors(folder / "samples.safetensors")
    assert metadata["executor"] == "integer"
    assert (tensors["codes"] == samples.codes).all()
    picture = imread(folder / "0001-label-2.png")
    assert np.array_equal(np.round(picture[:, :, 0] * 255).astype(np.uint8), samples.codes[1, 0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"labels": [7]}, r"^labels: got 7, allowed 0 to 2$"),
        ({"steps": 0}, r"^steps: got 0, allowed 1 to 1000$"),
        ({"images": 0}, r"^images: got 0, allowed 1 and more$"),
        ({"labels": [0], "images": 2}, r"^images: got 2 with 1 labels"),
        ({"seed": -1}, r"^seed: got -1, allowed 0 and more$"),
        ({"executor": "intger"}, r"^unknown executor 'intger'; did you mean 'integer'\?"),
    ],
)
def test_bad_settings_are_refused(tiny_qmodel, arguments, message):
    with pytest.raises(InputError, match=message):
        simulate(tiny_qmodel, **arguments)


@pytest.mark.parametrize(("channels", "width"), [(1, 5), (3, 5), (4, 20)])
def test_a_picture_shows_every_channel(channels, width):
    image = np.arange(channels * 2 * 5, dtype=np.uint8).reshape(channels, 2, 5)
    pixels = picture(image)
    assert pixels.shape == (2, width, 3)
    last = pixels[1, 4, 2] if channels == 3 else pixels[1, -1, 0]
    assert last == image[-1, 1, 4]
    assert set(np.unique(pixels)) == set(np.unique(image))
