"""Loading: embedded models, published architectures with random weights, local diffusers folders."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hqsim.errors import InputError, UnsupportedError, unknown_name
from hqsim.io import read_tensors, sha256_file
from hqsim.models.architecture import CONTEXT, FOLDERS, Architecture, Blueprint
from hqsim.models.build import Constants
from hqsim.models.captured import captured, shipped
from hqsim.models.model import Model
from hqsim.models.published import PUBLISHED
from hqsim.models.schedule import Schedule, schedule_from_config
from hqsim.ops.records import macs_by_layer

CHECKPOINTS = Path(__file__).parent / "checkpoints"
WEIGHTS = "diffusion_pytorch_model.safetensors"


@dataclass(frozen=True)
class ModelInfo:
    """One line of ``hqsim models``."""

    name: str
    kind: str
    parameters: int
    macs: int
    embedded: bool
    description: str


@dataclass(frozen=True)
class _Embedded:
    """A model whose weights ship with hqsim: how it is sampled, and the hash of its weights file."""

    description: str
    guidance: float
    sha256: str


_EMBEDDED = {
    "digits": _Embedded(
        description="class-conditional UCI digits, 32 x 32, 20 DDIM steps with guidance",
        guidance=1.5,
        sha256="37a8bd6d1b01c660f2b189a7f1684248a967086a5de80b13b9f32dd1739c7a14",
    ),
    "digits-dit": _Embedded(
        description="class-conditional UCI digits by a diffusion transformer, 32 x 32, with guidance",
        guidance=1.5,
        sha256="3b4cb85a0ea8b596bc3155d9bd419345c2f0c421cd62a26466cbf02f795746ae",
    ),
}


def is_built_in(name: str) -> bool:
    """Tell whether ``name`` is that of a built-in model."""
    return name in _EMBEDDED or name in PUBLISHED


def blueprints() -> dict[str, Blueprint]:
    """Return what every built-in model is captured from, those with weights first."""
    embedded = {name: _read_folder(CHECKPOINTS / name)[0] for name in _EMBEDDED}
    return embedded | {name: model.blueprint() for name, model in PUBLISHED.items()}


def list_models() -> list[ModelInfo]:
    """Return the built-in models: those with weights first. MACs are of one step and one image."""
    descriptions = {name: model.description for name, model in _EMBEDDED.items()}
    descriptions |= {name: model.description for name, model in PUBLISHED.items()}
    return [_info(name, blueprint, descriptions[name]) for name, blueprint in blueprints().items()]


def _info(name: str, blueprint: Blueprint, description: str) -> ModelInfo:
    architecture = shipped(name)
    return ModelInfo(
        name=name,
        kind=blueprint.class_name,
        parameters=architecture.parameter_count,
        macs=sum(macs_by_layer(architecture.graph).values()),
        embedded=name in _EMBEDDED,
        description=description,
    )


def load_model(name_or_path: str | Path, *, weights: bool = True) -> Model:
    """Return a float model: a built-in name, or a local diffusers folder with its scheduler.

    Parameters
    ----------
    name_or_path
        ``digits``, ``digits-dit``, a published architecture (``sd15``; its weights are random, made when they
        are read), or a folder that holds ``unet/`` or ``transformer/``, and ``scheduler/``, as diffusers
        writes them. The folder of a ``UNet2DConditionModel`` holds ``context.safetensors`` too:
        ``context.weight`` ``[rows, tokens, dim]``, one row per prompt or class, the last one for the empty
        prompt.
    weights
        Without them a folder's weights file is not read and need not exist, and those of a published
        architecture are not drawn: enough for an estimate. The model then has no parameters and an empty
        digest.

    Raises
    ------
    InputError
        Unknown name, missing or damaged files.
    UnsupportedError
        A model class, an operator or a schedule that hqsim does not have.
    """
    name = str(name_or_path)
    if name in _EMBEDDED:
        return _load_embedded(name)
    if name in PUBLISHED:
        return PUBLISHED[name].load(name, weights=weights)
    folder = Path(name_or_path)
    if not folder.is_dir():
        raise unknown_name("model", name, [*_EMBEDDED, *PUBLISHED, "a diffusers folder"])
    return _load_folder(folder, name=folder.resolve().name, source=str(folder.resolve()), weights=weights)


def _load_embedded(name: str) -> Model:
    """Load a model that ships with hqsim after checking its weights against the hash in this file."""
    embedded = _EMBEDDED[name]
    weights = _part(CHECKPOINTS / name) / WEIGHTS
    found = sha256_file(weights)
    if found != embedded.sha256:
        raise InputError(
            f"{weights}: sha256 is {found[:12]}, expected {embedded.sha256[:12]}: the file is damaged or was "
            "changed; install hqsim again, or load other weights as a diffusers folder"
        )
    return _load_folder(
        CHECKPOINTS / name, name=name, source=name, guidance=embedded.guidance, architecture=shipped(name)
    )


def _load_folder(
    folder: Path,
    *,
    name: str,
    source: str,
    guidance: float = 1.0,
    architecture: Architecture | None = None,
    weights: bool = True,
) -> Model:
    blueprint, schedule, context = _read_folder(folder)
    architecture = architecture or captured(blueprint)
    parameters: Mapping[str, np.ndarray] = {}
    digest = ""
    if weights:
        path = _part(folder) / WEIGHTS
        stored, _ = read_tensors(path)
        _check_fit(architecture, stored, path)
        tables = {} if context is None else {CONTEXT: context}
        parameters = {**stored, **Constants(architecture.constants, blueprint), **tables}
        digest = _digest(path, context)
    return Model(
        name=name,
        source=source,
        graph=architecture.graph,
        parameters=parameters,
        schedule=schedule,
        digest=digest,
        sample_shape=architecture.sample_shape,
        classes=max(architecture.rows - 1, 0),
        null_label=architecture.rows - 1 if architecture.rows else None,
        guidance=guidance,
    )


def _read_folder(folder: Path) -> tuple[Blueprint, Schedule, np.ndarray | None]:
    """What a diffusers folder says of its model, weights apart."""
    part = _part(folder)
    config = _read_json(part / "config.json")
    schedule = schedule_from_config(
        _read_json(folder / "scheduler" / "scheduler_config.json"),
        str(folder / "scheduler" / "scheduler_config.json"),
    )
    kind = config.get("_class_name")
    if kind not in FOLDERS:
        known = ", ".join(f"'{class_name}'" for class_name in FOLDERS)
        raise UnsupportedError(f"{part / 'config.json'}: _class_name: got {kind!r}, supported: {known}")
    context = _read_context(folder) if kind == "UNet2DConditionModel" else None
    blueprint = Blueprint(
        class_name=kind,
        config=config,
        context=None if context is None else context.shape,
        train_timesteps=schedule.train_timesteps,
    )
    return blueprint, schedule, context


def _part(folder: Path) -> Path:
    return folder / ("transformer" if (folder / "transformer").is_dir() else "unet")


def _check_fit(architecture: Architecture, parameters: Mapping[str, np.ndarray], weights: Path) -> None:
    """Refuse a weights file that does not fit its configuration, naming the first tensor."""
    expected = {key: parameter.shape for key, parameter in architecture.parameters.items()}
    found = {key: value.shape for key, value in parameters.items()}
    wrong = sorted(key for key in expected.keys() | found.keys() if expected.get(key) != found.get(key))
    if wrong:
        key = wrong[0]
        raise InputError(
            f"{weights}: {len(wrong)} of {len(expected)} tensors do not fit config.json, first '{key}': "
            f"expected {expected.get(key, 'none')}, found {found.get(key, 'none')}; "
            "use the folder as it was saved"
        )


def _read_context(folder: Path) -> np.ndarray:
    """The table of prompts or classes that a text encoder or class embedder gave."""
    path = folder / "context.safetensors"
    if not path.is_file():
        raise InputError(
            f"{path}: file not found; a UNet2DConditionModel needs '{CONTEXT}' [rows, tokens, dim]: the "
            "output of the text encoder for each prompt, the empty one last"
        )
    tensors, _ = read_tensors(path)
    table = tensors.get(CONTEXT)
    if table is None or table.ndim != 3 or table.dtype != np.float32:
        raise InputError(
            f"{path}: must hold '{CONTEXT}', float32 [rows, tokens, dim], and holds {sorted(tensors)}"
        )
    return table


def _digest(weights: Path, context: np.ndarray | None) -> str:
    """Sha256 of the weights file, of both files where there is a context."""
    digest = sha256_file(weights)
    if context is None:
        return digest
    return hashlib.sha256(digest.encode() + context.tobytes()).hexdigest()


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(
            f"{path}: file not found; a diffusers folder holds unet/ or transformer/, and scheduler/"
        ) from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not valid JSON: {error}") from None
    if not isinstance(content, dict):
        raise InputError(f"{path}: must hold a JSON object, not {type(content).__name__}")
    return content
