"""Packed weights: every weight lies where the layout says, in the fewest bytes that hold it."""

from __future__ import annotations

import numpy as np
import pytest

from hqsim.kernels.panels import in_place, pack_activation, pack_panels, padded_channels
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


LAYOUTS = {
    "as it is": (0, 1, 2),
    "columns side by side": (0, 2, 1),
    "groups interleaved": (1, 0, 2),
    "odd": (2, 1, 0),
}
"""Axes (groups, columns, k) from the outermost in memory to the innermost."""


def lying(codes: np.ndarray, layout: str) -> np.ndarray:
    """The same array with its axes in another order in memory."""
    order = LAYOUTS[layout]
    return np.ascontiguousarray(codes.transpose(order)).transpose(np.argsort(order))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_codes_in_any_order_of_axes_are_read_in_place(layout: str) -> None:
    codes = lying(np.arange(2 * 3 * 4, dtype=np.int16).reshape(2, 3, 4), layout)
    memory, pitches = in_place(codes)
    assert np.shares_memory(memory, codes)
    for index in np.ndindex(codes.shape):
        assert memory[np.dot(index, pitches)] == codes[index]


@pytest.mark.parametrize("codes", [np.arange(24)[::2].reshape(3, 4), np.broadcast_to(np.arange(4), (3, 4))])
def test_codes_with_gaps_are_copied(codes: np.ndarray) -> None:
    memory, pitches = in_place(codes)
    for index in np.ndindex(codes.shape):
        assert memory[np.dot(index, pitches)] == codes[index]


CODES = [
    ((-8, 7), np.int8),
    ((-128, 127), np.int8),
    ((-128, 127), np.int16),
    ((0, 127), np.uint8),
    ((0, 255), np.uint8),
    ((-32768, 32767), np.int16),
]
PACKED = [(form, *codes) for form in (SIXTEEN, PORTABLE) for codes in CODES]
PACKED += [(EIGHT, *codes) for codes in CODES[:4]]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("form", "reach", "dtype"), PACKED)
@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 33, 5), (3, 64, 8), (2, 70, 39)])
def test_an_activation_is_packed_like_weights(
    shape: tuple[int, ...], form: int, reach: tuple[int, int], dtype: type, layout: str
) -> None:
    storage = WORDS if reach[0] < -128 or reach[1] > 127 else BYTES
    columns = random_weights(*reach, shape)
    columns[0, 0, 0] = reach[0]
    panels = pack_activation(lying(columns.astype(dtype), layout), form, *reach)
    groups, outputs, reduction = shape
    steps, tiles = -(-reduction // 4), -(-outputs // COLUMNS)
    assert panels.storage == storage
    assert panels.data.nbytes == groups * tiles * steps * BYTES_OF[storage]
    assert panels.largest >= np.abs(columns).max()
    assert np.array_equal(panels.sums, columns.sum(axis=2))
    padded = np.zeros((groups, tiles * COLUMNS, steps * 4), np.int64)
    padded[:, :outputs, :reduction] = columns
    flat = padded.reshape(groups, tiles, COLUMNS, steps, 4)
    for group, tile, step in np.ndindex(groups, tiles, steps):
        found = read(panels.data[group], form, panels.storage, tile, steps, step)
        assert np.array_equal(found, flat[group, tile, :, step].T)
