"""Train the embedded model ``digits-dit``: ``python -m hqsim.models.train_digits_dit --out DIR``.

A class-conditional ``DiTTransformer2DModel`` (Peebles and Xie, ICCV 2023) on the UCI digits, trained as
``digits`` is. Its patches are 4 x 4 pixels: one token per pixel of the 8 x 8 originals.
"""

from __future__ import annotations

from collections.abc import Sequence

from diffusers import DiTTransformer2DModel
from torch import nn

from hqsim.models.digits_data import load_digits
from hqsim.models.train_denoiser import NULL_LABEL, Run, TrainingSettings

DIT_CONFIG = {
    "sample_size": 32,
    "patch_size": 4,
    "in_channels": 1,
    "out_channels": 1,
    "num_layers": 5,
    "num_attention_heads": 4,
    "attention_head_dim": 32,
    "num_embeds_ada_norm": NULL_LABEL,
}
DIT_SETTINGS = TrainingSettings(steps=20_000, batch=32, learning_rate=2e-3, bfloat16=False)


def make_dit() -> DiTTransformer2DModel:
    """Return the untrained transformer, initialised as DiT is (ibid., "adaLN-Zero", and its public code).

    Linear layers and the patch embedding after Glorot, embeddings with a deviation of 0.02 (diffusers' 1.0
    would drown the timestep), zero where a block's gates and the noise come from: every block starts as the
    identity. It stays in evaluation mode: its only random layers would drop labels block by block, and the
    training loop drops them for all blocks together.
    """
    model = DiTTransformer2DModel(**DIT_CONFIG)
    for name, layer in model.named_modules():
        if isinstance(layer, nn.Embedding):
            nn.init.normal_(layer.weight, std=0.02)
        elif isinstance(layer, nn.Linear | nn.Conv2d):
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
            if name.endswith("norm1.linear") or name.startswith("proj_out"):
                nn.init.zeros_(layer.weight)
            elif "timestep_embedder" in name:
                nn.init.normal_(layer.weight, std=0.02)
            else:
                nn.init.xavier_uniform_(layer.weight.view(len(layer.weight), -1))
    return model.eval()


def main(arguments: Sequence[str] | None = None) -> None:
    """Train the transformer and write the checkpoint folder."""
    run = Run.from_arguments(DIT_SETTINGS, __doc__ or "", arguments)
    training, _ = load_digits()
    run.save(run.train(make_dit, training), "transformer", {})


if __name__ == "__main__":
    main()
