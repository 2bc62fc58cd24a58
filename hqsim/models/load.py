"""Loading: built-in names with embedded weights, and local diffusers folders."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hqsim.errors import InputError, UnsupportedError, unknown_name
from hqsim.io import read_tensors, sha256_file
from hqsim.models.model import Model
from hqsim.models.schedule import schedule_from_config

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

    info: ModelInfo
    guidance: float
    sha256: str


_EMBEDDED = {
    "digits": _Embedded(
        info=ModelInfo(
            name="digits",
            kind="UNet2DModel",
            parameters=1_806_529,
            macs=305_385_472,
            embedded=True,
            description="class-conditional UCI digits, 32 x 32, 20 DDIM steps with guidance",
        ),
        guidance=1.5,
        sha256="37a8bd6d1b01c660f2b189a7f1684248a967086a5de80b13b9f32dd1739c7a14",
    )
}


def list_models() -> list[ModelInfo]:
    """Return the built-in models."""
    return [embedded.info for embedded in _EMBEDDED.values()]


def load_model(name_or_path: str | Path) -> Model:
    """Return a float model: a built-in name, or a local diffusers folder with its scheduler.

    Parameters
    ----------
    name_or_path
        ``digits``, or a folder that holds ``unet/`` and ``scheduler/`` as diffusers writes them.

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
    folder = Path(name_or_path)
    if not folder.is_dir():
        raise unknown_name("model", name, [*_EMBEDDED, "a diffusers folder"])
    return _load_folder(folder, name=folder.resolve().name, source=str(folder.resolve()))


def _load_embedded(name: str) -> Model:
    """Load a model that ships with hqsim after checking its weights against the hash in this file."""
    embedded = _EMBEDDED[name]
    weights = CHECKPOINTS / name / "unet" / WEIGHTS
    found = sha256_file(weights)
    if found != embedded.sha256:
        raise InputError(
            f"{weights}: sha256 is {found[:12]}, expected {embedded.sha256[:12]}: the file is damaged or was "
            "changed; install hqsim again, or load other weights as a diffusers folder"
        )
    return _load_folder(CHECKPOINTS / name, name=name, source=name, guidance=embedded.guidance)


def _load_folder(folder: Path, *, name: str, source: str, guidance: float = 1.0) -> Model:
    config = _read_json(folder / "unet" / "config.json")
    schedule = schedule_from_config(
        _read_json(folder / "scheduler" / "scheduler_config.json"),
        str(folder / "scheduler" / "scheduler_config.json"),
    )
    kind = config.get("_class_name")
    if kind != "UNet2DModel":
        raise UnsupportedError(
            f"{folder / 'unet' / 'config.json'}: _class_name: got {kind!r}, supported: 'UNet2DModel'"
        )
    weights = folder / "unet" / WEIGHTS
    parameters, _ = read_tensors(weights)
    module = _build_unet(config, parameters, weights)
    return _captured(
        module,
        parameters,
        name=name,
        source=source,
        schedule=schedule,
        digest=sha256_file(weights),
        guidance=guidance,
    )


def _build_unet(config: dict[str, Any], parameters: dict[str, Any], weights: Path) -> Any:
    """Instantiate the diffusers model and load its weights strictly."""
    import torch
    from diffusers import UNet2DModel

    module = UNet2DModel.from_config(config).eval()
    expected = {key: tuple(value.shape) for key, value in module.state_dict().items()}
    found = {key: value.shape for key, value in parameters.items()}
    wrong = sorted(key for key in expected.keys() | found.keys() if expected.get(key) != found.get(key))
    if wrong:
        key = wrong[0]
        raise InputError(
            f"{weights}: {len(wrong)} of {len(expected)} tensors do not fit config.json, first '{key}': "
            f"expected {expected.get(key, 'none')}, found {found.get(key, 'none')}; "
            "use the folder as it was saved"
        )
    module.load_state_dict({key: torch.from_numpy(value) for key, value in parameters.items()})
    return module


def _captured(module: Any, parameters: dict[str, Any], **fields: Any) -> Model:
    import torch

    from hqsim.graph.capture import BATCH, capture

    config = module.config
    size = config.sample_size
    height, width = (size, size) if isinstance(size, int) else size
    example = {
        "sample": torch.zeros(BATCH, config.in_channels, height, width),
        "timestep": torch.zeros(BATCH, dtype=torch.int64),
    }
    embeddings = config.num_class_embeds
    if embeddings:
        example["class_labels"] = torch.zeros(BATCH, dtype=torch.int64)
    schedule = fields["schedule"]
    return Model(
        graph=capture(module, example, train_timesteps=schedule.train_timesteps),
        parameters=parameters,
        sample_shape=(config.in_channels, height, width),
        classes=embeddings - 1 if embeddings else 0,
        null_label=embeddings - 1 if embeddings else None,
        **fields,
    )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: file not found; a diffusers folder holds unet/ and scheduler/") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not valid JSON: {error}") from None
    if not isinstance(content, dict):
        raise InputError(f"{path}: must hold a JSON object, not {type(content).__name__}")
    return content
