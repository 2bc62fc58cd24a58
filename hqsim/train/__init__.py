"""Training of quantized models on torch: every trainer ends in the ordinary integer parameters.

``train`` is loaded when it is first used: the budget of a step needs no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hqsim.train.api import train

__all__ = ["train"]


def __getattr__(name: str) -> object:
    if name != "train":
        raise AttributeError(f"module 'hqsim.train' has no attribute '{name}'")
    from hqsim.train.api import train

    globals()[name] = train
    return train
