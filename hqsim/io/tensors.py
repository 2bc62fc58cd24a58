"""Named numpy arrays in one safetensors file, with the same bytes for the same content."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from hqsim.errors import InputError
from hqsim.io.atomic import write_bytes_atomic

Tensors = dict[str, np.ndarray[Any, np.dtype[Any]]]

_LENGTH_BYTES = 8
_ALIGNMENT = 8
_METADATA_KEY = "__metadata__"
_ADVICE = "the file is damaged; make it again or restore it"


def write_tensors(
    path: Path, tensors: Mapping[str, np.ndarray[Any, np.dtype[Any]]], metadata: Mapping[str, str]
) -> None:
    """Write ``tensors`` to ``path`` in one piece, in any memory layout and byte order.

    The bytes depend on names, values, dtypes, shapes and metadata only, not on the order of the mappings.

    Raises
    ------
    InputError
        If a dtype or name cannot be stored, or the file cannot be written.
    """
    if _METADATA_KEY in tensors:
        raise InputError(
            f"{path}: a tensor must not be named '{_METADATA_KEY}'; safetensors reserves the name"
        )
    dense = {name: np.asarray(tensors[name], order="C") for name in sorted(tensors)}
    try:
        plain = save(dense)
    except SafetensorError as error:
        dtypes = ", ".join(sorted({str(array.dtype) for array in dense.values()}))
        raise InputError(f"{path}: cannot store tensors of dtypes {dtypes}: {error}") from error
    write_bytes_atomic(path, _with_metadata(plain, metadata))


def read_tensors(path: Path) -> tuple[Tensors, dict[str, str]]:
    """Return the arrays of a safetensors file, by name, and its metadata.

    Raises
    ------
    InputError
        If the file is missing, truncated, has a damaged header, or a dtype that numpy does not know.
    """
    if path.is_dir():
        raise InputError(f"{path}: is a folder; give a safetensors file")
    try:
        with safe_open(path, framework="np") as file:
            tensors = {name: file.get_tensor(name) for name in sorted(file.keys())}
            metadata = dict(file.metadata() or {})
    except SafetensorError as error:
        raise InputError(f"{path}: not a sound safetensors file: {error}; {_ADVICE}") from error
    except (TypeError, AttributeError, ValueError) as error:
        raise InputError(f"{path}: holds a tensor that numpy cannot represent: {error}") from error
    except FileNotFoundError as error:
        raise InputError(f"{path}: the file does not exist") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error
    for name, array in tensors.items():
        if array.dtype.isbuiltin != 1:  # bfloat16, once another package has taught it to numpy
            raise InputError(f"{path}: holds a tensor that numpy cannot represent: '{name}' ({array.dtype})")
    return tensors, metadata


def _with_metadata(plain: bytes, metadata: Mapping[str, str]) -> bytes:
    """Put sorted metadata into the header: safetensors itself writes them in random order."""
    body = _LENGTH_BYTES + int.from_bytes(plain[:_LENGTH_BYTES], "little")
    header = json.loads(plain[_LENGTH_BYTES:body])
    if metadata:
        header = {_METADATA_KEY: dict(sorted(metadata.items())), **header}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    return b"".join((len(text).to_bytes(_LENGTH_BYTES, "little"), text, memoryview(plain)[body:]))
