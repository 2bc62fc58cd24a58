"""Packed weights: every weight lies where the layout says, in the fewest bytes that hold it."""

from __future__ import annotations

import numpy as np
import pytest

from hqsim.kernels.panels import pack_activation, pack_panels, padded_channels
from hqsim.kernels.product import BYTES, NIBBLES, WORDS
from hqsim.kernels.tile import COLUMNS, EIGHT, PORTABLE, SIXTEEN

# Places of the four weights of a step in 8-bit panels: for 8-bit rows, and for 16-bit rows that widen them.
ORDERS = {EIGHT: [0, 1, 2, 3], SIXTEEN: [0, 2, 1, 3], PORTABLE: [0, 2, 1, 3]}
BYTES_OF = {NIBBLES: 64, BYTES: 128, WORDS: 256}
"""Bytes of one step, four weights of 32 columns."""


def read(data: np.ndarray, form: int, storage: int, tile: int, steps: int, step: int) -> np.ndarray:
    """Weights ``[4, 32]`` of one step of a packed group."""
    size = BYTES_OF[storage]
    part = data[(tile * steps + step) * size :][:size]
    if storage == WORDS:
        # Two steps of the 16-bit tile, two weights a lane.
        return part.view(np.int16).reshape(2, COLUMNS, 2).transpose(0, 2, 1).reshape(4, COLUMNS)
    if storage == NIBBLES:
        part = np.concatenate([part % 16, part // 16]) - np.uint8(8)
    return part.view(np.int8).reshape(COLUMNS, 4).T[ORDERS[form]]


def random_weights(low: int, high: int, shape: tuple[int, ...]) -> np.ndarray:
    weight = np.random.default_rng(0).integers(low, high + 1, shape)
    weight.flat[0], weight.flat[-1] = low, high
    return weight


@pytest.mark.parametrize("form", [EIGHT, SIXTEEN, PORTABLE])
@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (1, 33, 4, 5), (2, 32, 1, 8), (3, 70, 9, 3)])
@pytest.mark.parametrize(
    ("reach", "storage"), [((-8, 7), NIBBLES), ((-128, 127), BYTES), ((-900, 900), WORDS)]
)
def test_every_weight_is_in_its_place(reach, storage: int, shape: tuple[int, ...], form: int) -> None:
    if form == EIGHT and storage == WORDS:
        reach, storage = (-127, 127), BYTES
    weight = random_weights(*reach, shape)
    groups, outputs, taps, channels = shape
    panels = pack_panels(weight, form)
    steps = taps * padded_channels(channels) // 4
    tiles = -(-outputs // COLUMNS)
    assert (panels.form, panels.outputs) == (form, outputs)
    assert panels.largest >= np.abs(weight).max()
    if weight.size > 1:
        assert panels.storage == storage
        assert panels.data.nbytes == groups * tiles * steps * BYTES_OF[storage]
    assert np.array_equal(panels.sums, weight.sum(axis=(2, 3)))
    padded = np.zeros((groups, tiles * COLUMNS, taps, padded_channels(channels)), np.int64)
    padded[:, :outputs, :, :channels] = weight
    flat = padded.reshape(groups, tiles, COLUMNS, steps, 4)
    for group, tile, step in np.ndindex(groups, tiles, steps):
        found = read(panels.data[group], form, panels.storage, tile, steps, step)
        assert np.array_equal(found, flat[group, tile, :, step].T)


@pytest.mark.parametrize(
    ("reach", "storage"),
    [((-8, 7), NIBBLES), ((-7, 8), BYTES), ((-9, 0), BYTES), ((-128, 127), BYTES), ((0, 128), WORDS)],
)
def test_the_storage_follows_the_weights(reach: tuple[int, int], storage: int) -> None:
    assert pack_panels(random_weights(*reach, (1, 2, 1, 4)), PORTABLE).storage == storage


@pytest.mark.parametrize("form", [EIGHT, SIXTEEN, PORTABLE])
@pytest.mark.parametrize("reach", [(-8, 7), (-128, 127), (-32768, 32767)])
@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 33, 5), (3, 64, 8)])
def test_an_activation_is_packed_like_weights(
    shape: tuple[int, ...], reach: tuple[int, int], form: int
) -> None:
    if form == EIGHT and reach[0] < -128:
        reach = (0, 127)
    columns = random_weights(*reach, shape)
    columns[0, 0, 0] = reach[0]
    panels = pack_activation(columns.astype(np.int16), form, *reach)
    groups, outputs, reduction = shape
    steps = -(-reduction // 4)
    assert panels.storage == (WORDS if reach[0] < -128 else BYTES)
    assert panels.largest >= np.abs(columns).max()
    assert np.array_equal(panels.sums, columns.sum(axis=2))
    padded = np.zeros((groups, -(-outputs // COLUMNS) * COLUMNS, steps * 4), np.int64)
    padded[:, :outputs, :reduction] = columns
    flat = padded.reshape(groups, -1, COLUMNS, steps, 4)
    for group, tile, step in np.ndindex(groups, flat.shape[1], steps):
        found = read(panels.data[group], form, panels.storage, tile, steps, step)
        assert np.array_equal(found, flat[group, tile, :, step].T)
