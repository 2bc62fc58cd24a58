"""Safetensors files: round trip, same bytes, and damaged files that must end in a clear error."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st

import hqsim
from hqsim.errors import InputError
from hqsim.io.tensors import read_tensors, write_tensors

TENSORS = {
    "unet.conv.weight": np.arange(24, dtype=np.uint8).reshape(2, 3, 4),
    "unet.conv.scale": np.array([-3, 2**31 - 1], np.int32),
    "bound": np.array(2**62, np.int64),
    "empty": np.zeros((0, 5), np.float32),
    "flags": np.array([True, False]),
}
METADATA = {"format": "1", "model": "digits", "a": "ä", "z": "", "recipe": "hqdm-w4a4"}


def build(header, body=b"", length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + body


def entry(shape, start, end, dtype="I8"):
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


def refusal(path):
    with pytest.raises(InputError) as caught:
        read_tensors(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    return message


def test_round_trip(tmp_path):
    path = tmp_path / "model.safetensors"
    write_tensors(path, TENSORS, METADATA)
    tensors, metadata = read_tensors(path)
    assert metadata == METADATA
    assert sorted(tensors) == sorted(TENSORS)
    for name, expected in TENSORS.items():
        assert tensors[name].dtype == expected.dtype
        assert tensors[name].shape == expected.shape
        np.testing.assert_array_equal(tensors[name], expected)
    tensors["flags"][0] = False


def test_other_readers_understand_the_file(tmp_path):
    path = tmp_path / "model.safetensors"
    write_tensors(path, TENSORS, METADATA)
    loaded = safetensors.numpy.load_file(path)
    np.testing.assert_array_equal(loaded["unet.conv.weight"], TENSORS["unet.conv.weight"])
    raw = path.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + length])
    assert length % 8 == 0
    assert header.pop("__metadata__") == METADATA
    assert len(raw) == 8 + length + sum(array.nbytes for array in TENSORS.values())
    start, end = header["unet.conv.weight"]["data_offsets"]
    assert raw[8 + length + start : 8 + length + end] == bytes(range(24))


def test_same_bytes_in_any_order_and_process(tmp_path):
    script = (
        "import sys, numpy as np; from pathlib import Path; from hqsim.io.tensors import write_tensors\n"
        "write_tensors(Path(sys.argv[1]), {n: np.arange(3) for n in 'cab'}, {n: n for n in 'qwertz'})"
    )
    for run in range(3):
        subprocess.run(
            [sys.executable, "-c", script, str(tmp_path / str(run))],
            cwd=Path(hqsim.__file__).parents[1],
            check=True,
        )
    write_tensors(tmp_path / "here", {n: np.arange(3) for n in "bca"}, {n: n for n in "ztrewq"})
    assert len({path.read_bytes() for path in tmp_path.iterdir()}) == 1
    assert len(list(tmp_path.iterdir())) == 4


def test_memory_layout_and_byte_order_do_not_matter(tmp_path):
    values = np.arange(12, dtype=np.int32).reshape(3, 4)
    for array in (values.T, np.asfortranarray(values), values[::2, ::-1], values.astype(">i4"), values[0, 0]):
        write_tensors(tmp_path / "t", {"a": array}, {})
        found = read_tensors(tmp_path / "t")[0]["a"]
        np.testing.assert_array_equal(found, array)
        assert found.shape == array.shape


def test_no_tensors_and_no_metadata(tmp_path):
    write_tensors(tmp_path / "t", {}, {})
    assert read_tensors(tmp_path / "t") == ({}, {})


@pytest.mark.parametrize("dtype", [object, "U4", "M8[s]", np.complex128])
def test_dtype_that_cannot_be_stored(dtype, tmp_path):
    with pytest.raises(InputError, match=r"t: cannot store tensors of dtypes .*Unknown dtype"):
        write_tensors(tmp_path / "t", {"a": np.zeros(2, dtype)}, {})
    assert list(tmp_path.iterdir()) == []


def test_reserved_name(tmp_path):
    with pytest.raises(InputError, match="must not be named '__metadata__'"):
        write_tensors(tmp_path / "t", {"__metadata__": np.zeros(1)}, {})


def test_missing_file_and_folder(tmp_path):
    assert refusal(tmp_path / "absent").endswith("the file does not exist")
    assert refusal(tmp_path).endswith("is a folder; give a safetensors file")


def test_every_truncation_is_refused(tmp_path):
    path = tmp_path / "t"
    write_tensors(path, {"a": np.arange(5, dtype=np.int8)}, {"k": "v"})
    whole = path.read_bytes()
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        assert "not a sound safetensors file" in refusal(path)
    path.write_bytes(whole + b"\0")
    assert "not a sound safetensors file" in refusal(path)


@given(position=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_bit_flip_in_the_header_is_refused_or_read_without_a_crash(tmp_path_factory, position, bit):
    path = tmp_path_factory.mktemp("flip") / "t"
    write_tensors(path, TENSORS, METADATA)
    raw = bytearray(path.read_bytes())
    raw[position % (8 + int.from_bytes(raw[:8], "little"))] ^= 1 << bit
    path.write_bytes(raw)
    try:
        tensors, _ = read_tensors(path)
    except InputError as error:
        assert str(error).startswith(f"{path}: ")
    else:
        assert sum(array.nbytes for array in tensors.values()) == sum(
            array.nbytes for array in TENSORS.values()
        )


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"PK\x03\x04 not safetensors at all",
        build({"a": entry([2], 0, 2)}, b"12", length=0),
        build({"a": entry([2], 0, 2)}, b"12", length=20),
        build({"a": entry([2], 0, 2)}, b"12", length=10_000),
        build({"a": entry([2], 0, 2)}, b"12", length=2**63),
        build({"a": entry([2], 0, 2)}, b"12", length=2**64 - 1),
        build(b"\xff\xfe", b""),
        build([1, 2]),
        build({"__metadata__": {"a": 1}}),
        build({"a": entry([3], 0, 2)}, b"12"),
        build({"a": entry([2], 2, 0)}, b"12"),
        build({"a": entry([-1], 0, 2)}, b"12"),
        build({"a": entry([2], 0, 2), "b": entry([2], 1, 3)}, b"123"),
        build({"a": entry([1], 1, 2)}, b"12"),
        build({"a": entry([2**32, 2**32], 0, 0)}),
        build({"a": entry([2**62, 2**62, 0], 0, 0)}),
        build({"a": entry([1], 0, 1, dtype="I9")}, b"1"),
        build(b'{"a":' * 500 + b"1" + b"}" * 500),
    ],
)
def test_damaged_or_lying_header(content, tmp_path):
    path = tmp_path / "t"
    path.write_bytes(content)
    message = refusal(path)
    assert "not a sound safetensors file: " in message
    assert message.endswith("the file is damaged; make it again or restore it")


@pytest.mark.parametrize(
    "content",
    [build({"a": entry([1], 0, 2, dtype="BF16")}, b"12"), build({"a": entry([1] * 70, 0, 1)}, b"1")],
)
def test_tensor_that_numpy_cannot_represent(content, tmp_path):
    pytest.importorskip("ml_dtypes")  # comes with onnx; numpy then knows bfloat16
    path = tmp_path / "t"
    path.write_bytes(content)
    assert "holds a tensor that numpy cannot represent" in refusal(path)
