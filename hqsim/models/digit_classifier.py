"""A small digit classifier: the feature extractor behind the quality figures of ``digits``.

It is never called "Inception", and distances on its features are never called "FID".
"""

from __future__ import annotations

from torch import Tensor, nn

FEATURES = 48


class DigitClassifier(nn.Module):
    """Images float32 ``[n, 1, 32, 32]`` in [-1, 1] -> logits ``[n, 10]``.

    ``features`` gives the ``[n, 48]`` activations before the last layer, on which the Fréchet
    distance is measured.
    """

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Dropout(0.3),
            nn.Linear(64 * 4 * 4, FEATURES),
            nn.ReLU(),
        )
        self.head = nn.Linear(FEATURES, 10)

    def features(self, images: Tensor) -> Tensor:
        """Return the ``[n, 48]`` features of ``images``."""
        return self.body(images)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits ``[n, 10]`` of ``images``."""
        return self.head(self.body(images))
