"""Extractors: what they return, what they refuse, and Inception through a stand-in of torch-fidelity."""

import sys
from types import ModuleType

import numpy as np
import pytest

from hqsim.analysis.features import DigitsExtractor, InceptionExtractor, digit_classifier
from hqsim.errors import InputError, UnsupportedError

CODES = np.random.default_rng(0).integers(0, 256, (130, 1, 32, 32)).astype(np.uint8)


def test_the_digits_extractor_gives_the_classifiers_own_layers():
    import torch

    features = DigitsExtractor()(CODES)
    assert (features.pooled.shape, features.spatial.shape) == ((130, 48), (130, 4 * 8 * 8))
    network, _ = digit_classifier()
    with torch.no_grad():
        images = torch.from_numpy(CODES[120:].astype(np.float32) / 127.5 - 1.0)
        assert np.allclose(features.pooled[120:], network.features(images), atol=1e-5)
        assert np.allclose(features.probabilities[120:], network(images).softmax(1), atol=1e-5)


def test_inception_without_weights_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"none\.pth: no Inception weights there; give torch-fidelity's"):
        InceptionExtractor(tmp_path / "none.pth")


def test_inception_without_torch_fidelity_is_refused(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch_fidelity", None)
    weights = tmp_path / "weights.pth"
    weights.touch()
    with pytest.raises(UnsupportedError, match=r"^Inception features need torch-fidelity: pip install"):
        InceptionExtractor(weights)


@pytest.fixture
def stand_in(monkeypatch):
    """torch-fidelity's class with its names and shapes, and one layer instead of Inception."""
    import torch
    from torch import nn

    class FeatureExtractorInceptionV3(nn.Module):
        def __init__(self, name, features_list, feature_extractor_weights_path):
            super().__init__()
            assert features_list == ["2048", "logits_unbiased"]
            self.Mixed_6e = nn.AvgPool2d(2)

        def forward(self, images):
            assert images.dtype == torch.uint8
            mapped = self.Mixed_6e(images.float().repeat(1, 4, 1, 1))
            pooled = mapped.mean((2, 3))
            return pooled, pooled[:, :2]

    module = ModuleType("torch_fidelity.feature_extractor_inceptionv3")
    module.FeatureExtractorInceptionV3 = FeatureExtractorInceptionV3
    monkeypatch.setitem(sys.modules, "torch_fidelity", ModuleType("torch_fidelity"))
    monkeypatch.setitem(sys.modules, module.__name__, module)


def test_inception_features_come_from_the_pooled_layer_the_map_and_the_logits(stand_in, tmp_path):
    weights = tmp_path / "weights.pth"
    weights.touch()
    extractor = InceptionExtractor(weights)
    features = extractor(CODES)
    assert features.pooled.shape == (130, 12)
    assert features.spatial.shape == (130, 7 * 16 * 16)
    assert np.allclose(features.probabilities, 0.5)
    assert not extractor.knows_labels
    with pytest.raises(InputError, match=r"^images: got 4 channels, Inception takes 1 or 3; decode latents$"):
        extractor(np.zeros((2, 4, 8, 8), np.uint8))
