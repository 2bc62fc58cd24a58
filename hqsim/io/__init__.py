"""Files: strict YAML, atomic writes, packed codes, safetensors, manifests.

Names are loaded when they are first used, so that a command pays only for what it reads.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hqsim.io.atomic import new_folder, write_bytes_atomic, write_text_atomic
    from hqsim.io.cache import cache_folder
    from hqsim.io.manifest import Manifest, sha256_file, verify_manifest, write_manifest
    from hqsim.io.packing import pack_codes, packed_size_bytes, unpack_codes
    from hqsim.io.tensors import read_tensors, write_tensors
    from hqsim.io.yaml import YamlDocument, load_yaml, parse_yaml, validate_yaml

__all__ = [
    "Manifest",
    "YamlDocument",
    "cache_folder",
    "load_yaml",
    "new_folder",
    "pack_codes",
    "packed_size_bytes",
    "parse_yaml",
    "read_tensors",
    "sha256_file",
    "unpack_codes",
    "validate_yaml",
    "verify_manifest",
    "write_bytes_atomic",
    "write_manifest",
    "write_tensors",
    "write_text_atomic",
]

_HOME = {
    "Manifest": "manifest",
    "YamlDocument": "yaml",
    "cache_folder": "cache",
    "load_yaml": "yaml",
    "new_folder": "atomic",
    "pack_codes": "packing",
    "packed_size_bytes": "packing",
    "parse_yaml": "yaml",
    "read_tensors": "tensors",
    "sha256_file": "manifest",
    "unpack_codes": "packing",
    "validate_yaml": "yaml",
    "verify_manifest": "manifest",
    "write_bytes_atomic": "atomic",
    "write_manifest": "manifest",
    "write_tensors": "tensors",
    "write_text_atomic": "atomic",
}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'hqsim.io' has no attribute '{name}'")
    value = getattr(import_module(f"hqsim.io.{_HOME[name]}"), name)
    globals()[name] = value
    return value
