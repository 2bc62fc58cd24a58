"""The section ``training`` of a recipe: which trainer, and with which hyper-parameters."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Rate = Annotated[float, Field(ge=0.0, le=1.0)]
Count = Annotated[int, Field(ge=1)]
LARGEST_FACTOR = 64.0


class Distillation(BaseModel):
    """Data-free distillation from the float model, as EfficientDM (He et al., 2024) and HQ-DM train.

    ``lora_rate`` counts in a layer's mean weight scale; the other two rates are absolute, in the orthonormal
    domain (``ŝ / sqrt(n)`` under a transform). All three fall linearly to zero. HQ-DM states no
    hyper-parameters: these are EfficientDM's, 160 trajectories of 100 DDIM steps with two images each. They
    do not know the width: a short run at 8-bit weights needs a higher ``lora_rate`` (docs/METHODS.md).

    ``loss`` is the squared error of the predicted noise, as published, or of the next ``sample``: then the
    error of a step counts as much as the DDIM step takes of its noise. The noise of the last step is hardly
    used and has by far the largest error, so it decides the published loss. The curve tells the error of the
    noise under both.

    ``trajectory_steps`` null trains on the very steps that will be sampled; a number must contain them (100
    holds every step of 20: each fifth table entry is kept). A shorter run is :meth:`resized`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    kind: Literal["distill"] = "distill"
    updates: Count = 16_000
    trajectory_steps: Count | None = 100
    batch: Count = 2
    loss: Literal["noise", "sample"] = "noise"
    lora_rank: Count = 32
    lora_rate: Rate = 1 / 2500
    weight_scale_rate: Rate = 1e-6
    activation_scale_rate: Rate = 5e-4
    weight_scales: Literal["static", "per_timestep"] = "static"
    weight_storage: Literal["scale_only", "codes_per_step"] = "scale_only"
    checkpoint_every: Count = 200

    def resized(self, updates: int, steps: int) -> Distillation:
        """Return the options of a run of ``updates`` for ``steps`` steps of sampling.

        Fewer updates than the recipe's take higher rates: rate times number of updates, as far as a parameter
        can go, stays what it was (64 times the rate at most). They train on the steps of the sampling, unless
        the recipe sets others; the entries of a shorter table meet more updates, so their rate rises less.
        """
        if updates >= self.updates:
            return self.model_copy(update={"updates": updates})
        explicit = "trajectory_steps" in self.model_fields_set
        trajectory = self.trajectory_steps if explicit else None
        factor = min(self.updates / updates, LARGEST_FACTOR)
        of_entries = factor * (trajectory or steps) / (self.trajectory_steps or steps)
        return self.model_copy(
            update={
                "updates": updates,
                "trajectory_steps": trajectory,
                "lora_rate": self.lora_rate * factor,
                "weight_scale_rate": self.weight_scale_rate * factor,
                "activation_scale_rate": self.activation_scale_rate * of_entries,
            }
        )
