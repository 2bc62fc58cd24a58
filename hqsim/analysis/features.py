"""Feature extractors: what the distances, scores and manifolds are measured on.

A figure bears its extractor's name. Only features of Inception v3 may be called FID, IS or sFID; those of the
embedded digit classifier are "Fréchet (digits classifier)".
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from hqsim.errors import InputError, UnsupportedError

if TYPE_CHECKING:
    from hqsim.models.digit_classifier import DigitClassifier

BATCH = 100
SPATIAL_STAGE = 6
"""The digit classifier's layers up to its second pooling: a map of 32 channels, 8 x 8."""
SPATIAL_CHANNELS = {"digits": 4, "inception": 7}
"""The first channels of the map stand for it, as sFID takes 7 of Inception's 768 (Nash et al., 2021)."""


@dataclass(frozen=True, eq=False)
class Features:
    """Float64, of n images: pooled ``[n, d]``, of a spatial map ``[n, s]``, probabilities ``[n, c]``."""

    pooled: np.ndarray
    spatial: np.ndarray
    probabilities: np.ndarray


class Extractor(Protocol):
    """From image codes uint8 ``[n, c, h, w]`` to features.

    ``name`` says whose they are; ``knows_labels`` whether its classes are the models' labels.
    """

    name: str
    knows_labels: bool

    def __call__(self, codes: np.ndarray) -> Features:
        """Return the features of ``codes``."""
        ...


class DigitsExtractor:
    """The embedded digit classifier; images are ``[n, 1, 32, 32]``."""

    name = "digits classifier"
    knows_labels = True

    def __call__(self, codes: np.ndarray) -> Features:
        """Return the features of ``codes``."""
        import torch

        network, _ = digit_classifier()
        parts = []
        with torch.no_grad():
            for batch in _batches(codes):
                images = torch.from_numpy(batch.astype(np.float32) / 127.5 - 1.0)
                spatial = network.body[:SPATIAL_STAGE](images)
                pooled = network.body[SPATIAL_STAGE:](spatial)
                chosen = spatial[:, : SPATIAL_CHANNELS["digits"]].flatten(1)
                parts.append((pooled, chosen, network.head(pooled).softmax(1)))
        return _join(parts)


class InceptionExtractor:
    """Inception v3 with torch-fidelity's weights (converted from the original), given as a local file.

    Parameters
    ----------
    weights
        ``weights-inception-2015-12-05-6726825d.pth`` of torch-fidelity; nothing is downloaded.

    Raises
    ------
    UnsupportedError
        When torch-fidelity is not installed.
    InputError
        When the weights are not there.
    """

    name = "Inception v3, torch-fidelity"
    knows_labels = False

    def __init__(self, weights: str | Path) -> None:
        if not Path(weights).is_file():
            raise InputError(f"{weights}: no Inception weights there; give torch-fidelity's .pth file")
        try:
            from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
        except ImportError:
            raise UnsupportedError(
                "Inception features need torch-fidelity: pip install torch-fidelity; or take the embedded "
                "digits classifier"
            ) from None
        self._maps: list[Any] = []
        self._network = FeatureExtractorInceptionV3(
            "inception-v3-compat", ["2048", "logits_unbiased"], feature_extractor_weights_path=str(weights)
        )
        self._network.Mixed_6e.register_forward_hook(lambda _m, _i, output: self._maps.append(output))

    def __call__(self, codes: np.ndarray) -> Features:
        """Return the features of ``codes``, grey ones repeated to three channels."""
        import torch

        if codes.shape[1] not in (1, 3):
            raise InputError(f"images: got {codes.shape[1]} channels, Inception takes 1 or 3; decode latents")
        parts = []
        with torch.no_grad():
            for batch in _batches(codes):
                images = torch.from_numpy(batch).expand(-1, 3, -1, -1)
                pooled, logits = self._network(images)
                spatial = self._maps.pop()[:, : SPATIAL_CHANNELS["inception"]].flatten(1)
                parts.append((pooled, spatial, logits.softmax(1)))
        return _join(parts)


@cache
def digit_classifier() -> tuple[DigitClassifier, dict[str, np.ndarray]]:
    """Return the embedded classifier and its file's tensors (moments of the real digits among them)."""
    import torch

    from hqsim import models
    from hqsim.io import read_tensors
    from hqsim.models.digit_classifier import DigitClassifier

    path = Path(models.__file__).parent / "checkpoints" / "digits" / "classifier.safetensors"
    tensors, _ = read_tensors(path)
    prefix = "classifier."
    state = {
        name.removeprefix(prefix): torch.from_numpy(array)
        for name, array in tensors.items()
        if name.startswith(prefix)
    }
    if not state:
        raise InputError(f"{path}: holds no classifier; restore the file of this hqsim")
    network = DigitClassifier()
    network.load_state_dict(state)
    return network.eval(), tensors


def real_digits() -> np.ndarray:
    """Return the 1,437 digits that the models were trained on, as codes uint8 ``[n, 1, 32, 32]``.

    Raises
    ------
    UnsupportedError
        Without scikit-learn, which ships them.
    """
    try:
        from hqsim.models.digits_data import load_digits

        training, _ = load_digits()
    except ImportError:
        raise UnsupportedError(
            "the real digits come with scikit-learn: pip install scikit-learn (extra 'train')"
        ) from None
    return np.round((training.images + 1.0) * 127.5).astype(np.uint8)


def _batches(codes: np.ndarray) -> list[np.ndarray]:
    return [codes[start : start + BATCH] for start in range(0, len(codes), BATCH)]


def _join(parts: list[tuple[Any, Any, Any]]) -> Features:
    pooled, spatial, probabilities = zip(*parts, strict=True)
    return Features(
        *(np.concatenate([x.double().numpy() for x in y]) for y in (pooled, spatial, probabilities))
    )
