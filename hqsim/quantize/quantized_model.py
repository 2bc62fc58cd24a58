"""The quantized model: the lowered graph, formats, packed weights and integer parameters; saved and loaded.

A folder: ``config.json`` (what it is), ``model.safetensors`` (packed codes, dyadic tables), ``manifest.json``
(versions, seeds, sha256 of every file), and ``training.csv`` where it was trained. It runs without the float
model; only fake-quant needs that.
"""

from __future__ import annotations

import json
from collections import ChainMap
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np

from hqsim.errors import InputError
from hqsim.graph import Graph, Node
from hqsim.io import (
    new_folder,
    read_tensors,
    verify_manifest,
    write_manifest,
    write_tensors,
    write_text_atomic,
)
from hqsim.models import Model, Schedule, load_model
from hqsim.numerics import Format
from hqsim.ops import WeightCodes
from hqsim.quantize.lower import lower
from hqsim.quantize.recipe import Recipe

KIND = "quantized-model"
FORMAT_VERSION = 2
CURVE = "training.csv"


@dataclass(frozen=True, kw_only=True)
class SourceModel:
    """What an artefact keeps of the float model: where it came from and how it is sampled."""

    name: str
    source: str
    digest: str
    sample_shape: tuple[int, int, int]
    classes: int
    null_label: int | None
    guidance: float
    schedule: Schedule

    @classmethod
    def of(cls, model: Model) -> SourceModel:
        """Keep the fields of ``model`` that sampling needs."""
        return cls(**{name: getattr(model, name) for name in cls.__dataclass_fields__})

    def load(self) -> Model:
        """Load the float model again.

        Raises
        ------
        InputError
            When its weights are no longer the ones that were quantized.
        """
        model = load_model(self.source)
        if model.digest != self.digest:
            raise InputError(
                f"model '{self.source}': its weights have changed since it was quantized (sha256 "
                f"{model.digest[:12]}, expected {self.digest[:12]}); quantize it again"
            )
        return model


@dataclass(frozen=True)
class Training:
    """How a model was trained: plain settings and results for ``config.json``, the curve for a table.

    ``curve`` float64 ``[rows, columns]`` becomes ``training.csv``.
    """

    settings: Mapping[str, Any]
    columns: tuple[str, ...]
    curve: np.ndarray

    def table(self) -> str:
        """Return the curve as CSV; floats survive exactly."""
        rows = [",".join(repr(value).removesuffix(".0") for value in row) for row in self.curve.tolist()]
        return "\n".join([",".join(self.columns), *rows, ""])

    @classmethod
    def read(cls, settings: Mapping[str, Any], path: Path) -> Training:
        """Undo :meth:`table`."""
        header, *rows = path.read_text(encoding="utf-8").splitlines()
        columns = tuple(header.split(","))
        curve = np.array([[float(cell) for cell in row.split(",")] for row in rows])
        return cls(settings, columns, curve.reshape(len(rows), len(columns)))


@dataclass(frozen=True, kw_only=True)
class QuantizedModel:
    """A model in integers.

    ``arrays`` holds each node's integer parameters, int64; ``weights`` the packed codes; ``timesteps`` are
    the calibrated ones, in the order of the tables' entries; ``training`` is None where only calibration ran.
    """

    model: SourceModel
    recipe: Recipe
    graph: Graph
    formats: Mapping[str, Format]
    weights: Mapping[str, WeightCodes]
    arrays: Mapping[str, Mapping[str, np.ndarray]]
    timesteps: tuple[int, ...]
    seed: int
    training: Training | None = None

    @cached_property
    def source(self) -> Model:
        """The float model that this one was made from."""
        return self.model.load()

    @property
    def float_graph(self) -> Graph:
        """The lowered graph of the float model: with its time MLP where this model has tables."""
        if not self.recipe.precompute_temporal:
            return self.graph
        return lower(self.source.graph, self.recipe)

    @property
    def real_parameters(self) -> Mapping[str, np.ndarray]:
        """The float model's parameters, and what the codes of temporal tables stand for."""
        return self.with_tables(self.source.parameters)

    def with_tables(self, parameters: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        """Return the float model's ``parameters``, and what the codes of temporal tables stand for."""
        tables: dict[str, np.ndarray] = {}
        for node in self.graph:
            if node.op == "temporal_table":
                arrays = self.arrays[node.name]
                tables[node.parameters["table"]] = self.formats[node.name].decode(arrays["table"])
                tables[node.parameters["timesteps"]] = arrays["timesteps"]
        source = cast(MutableMapping[str, np.ndarray], parameters)  # ChainMap writes to its first alone
        return ChainMap(tables, source) if tables else source

    def entry_of(self, timestep: int) -> int:
        """Return the table entry for ``timestep``: the nearest calibrated one."""
        return int(np.argmin(np.abs(np.array(self.timesteps) - timestep)))

    def node_arrays(self, node: Node) -> dict[str, np.ndarray]:
        """Return the node's parameters, its weight codes included (unpacked anew at every call)."""
        arrays = dict(self.arrays.get(node.name, {}))
        if node.parameters.get("weight") in self.weights:
            arrays["weight"] = self.weights[node.parameters["weight"]].codes
        return arrays

    def save(self, folder: str | Path) -> Path:
        """Write the artefact; the folder must be new or empty. Returns it."""
        with new_folder(Path(folder)) as temporary:
            config = json.dumps(self._config(), indent=1, sort_keys=True) + "\n"
            write_text_atomic(temporary / "config.json", config)
            write_tensors(temporary / "model.safetensors", self._tensors(), {"kind": KIND})
            if self.training is not None:
                write_text_atomic(temporary / CURVE, self.training.table())
            write_manifest(
                temporary,
                kind=KIND,
                format_version=FORMAT_VERSION,
                settings={"recipe": self.recipe.name, "seed": self.seed},
                inputs={self.model.source: self.model.digest},
            )
        return Path(folder)

    def _config(self) -> dict[str, Any]:
        model = self.model
        return {
            "kind": KIND,
            "format_version": FORMAT_VERSION,
            "model": {
                "name": model.name,
                "source": model.source,
                "sha256": model.digest,
                "sample_shape": list(model.sample_shape),
                "classes": model.classes,
                "null_label": model.null_label,
                "guidance": model.guidance,
                "final_alpha": model.schedule.final_alpha,
                "steps_offset": model.schedule.steps_offset,
                "clip": model.schedule.clip,
            },
            "recipe": self.recipe.model_dump(mode="json"),
            "seed": self.seed,
            "training": dict(self.training.settings) if self.training else None,
            "timesteps": list(self.timesteps),
            **self.graph.to_json(),
            "formats": {name: format_.to_json() for name, format_ in self.formats.items()},
            "weights": {
                name: {"shape": list(weight.shape), "bits": weight.bits}
                for name, weight in self.weights.items()
            },
        }

    def _tensors(self) -> dict[str, np.ndarray]:
        tensors = {"schedule.alphas_cumprod": self.model.schedule.alphas_cumprod}
        for name, weight in self.weights.items():
            tensors[f"codes/{name}"] = weight.packed
            tensors[f"scales/{name}"] = weight.scales
        for node, arrays in self.arrays.items():
            for name, array in arrays.items():
                tensors[f"node/{node}/{name}"] = _narrow(array)
        return tensors


def load_quantized(folder: str | Path) -> QuantizedModel:
    """Load an artefact after checking every file against the manifest.

    Raises
    ------
    InputError
        Missing, truncated or changed files, or another format version.
    """
    folder = Path(folder)
    verify_manifest(folder, KIND)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if config.get("format_version") != FORMAT_VERSION:
        raise InputError(
            f"{folder / 'config.json'}: format_version: got {config.get('format_version')}, this hqsim reads "
            f"{FORMAT_VERSION}; quantize the model again"
        )
    tensors, _ = read_tensors(folder / "model.safetensors")
    try:
        training = Training.read(config["training"], folder / CURVE) if config.get("training") else None
        return _assemble(config, tensors, training)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{folder}: config.json and model.safetensors do not make a model "
            f"({type(error).__name__}: {error}); quantize the model again"
        ) from error


def _assemble(
    config: Mapping[str, Any], tensors: Mapping[str, np.ndarray], training: Training | None
) -> QuantizedModel:
    model = config["model"]
    schedule = Schedule(
        alphas_cumprod=tensors["schedule.alphas_cumprod"],
        final_alpha=model["final_alpha"],
        steps_offset=model["steps_offset"],
        clip=model["clip"],
    )
    formats = {name: Format.from_json(record) for name, record in config["formats"].items()}
    arrays: dict[str, dict[str, np.ndarray]] = {}
    for key, tensor in tensors.items():
        if key.startswith("node/"):
            _, node, name = key.split("/")
            dtype = formats[node].dtype if name == "table" else np.int64
            arrays.setdefault(node, {})[name] = tensor.astype(dtype)
    return QuantizedModel(
        model=SourceModel(
            name=model["name"],
            source=model["source"],
            digest=model["sha256"],
            sample_shape=tuple(model["sample_shape"]),
            classes=model["classes"],
            null_label=model["null_label"],
            guidance=model["guidance"],
            schedule=schedule,
        ),
        recipe=Recipe.model_validate_json(json.dumps(config["recipe"])),
        graph=Graph.from_json(config),
        formats=formats,
        weights={
            name: WeightCodes(
                tensors[f"codes/{name}"], tuple(entry["shape"]), tensors[f"scales/{name}"], entry["bits"]
            )
            for name, entry in config["weights"].items()
        },
        arrays=arrays,
        timesteps=tuple(config["timesteps"]),
        seed=config["seed"],
        training=training,
    )


def _narrow(array: np.ndarray) -> np.ndarray:
    """The narrowest signed integer type that holds the values: what a device would store."""
    low, high = int(array.min(initial=0)), int(array.max(initial=0))
    for dtype in (np.int8, np.int16, np.int32):
        if np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max:
            return array.astype(dtype)
    return array
