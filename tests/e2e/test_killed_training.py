"""A training process that is killed, and the one that goes on from what it left."""

import signal
import subprocess
import sys

import hqsim

RECIPE = """\
hadamard: {kind: single, axis: channel, order: 3, signs: true}
training:
  kind: distill
  batch: 1
  lora_rank: 2
  trajectory_steps: null
  checkpoint_every: 2
  weight_scales: per_timestep
"""
KILLED = """\
import os, signal, sys
import hqsim

def stop(label, done, total):
    if label == "train" and done == 3:
        os.kill(os.getpid(), signal.SIGKILL)

folder, recipe, state = sys.argv[1:]
hqsim.quantize(folder, recipe, train=4, checkpoint=state, progress=stop, steps=2, images=1, guidance=1.0)
"""


def test_a_killed_process_leaves_what_the_next_one_resumes_from(tiny_folder, tiny_model, tmp_path):
    recipe, state = tmp_path / "own.yaml", tmp_path / "state"
    recipe.write_text(RECIPE)
    script = [sys.executable, "-c", KILLED, str(tiny_folder), str(recipe), str(state)]
    killed = subprocess.run(script, capture_output=True, text=True, check=False, timeout=300)
    assert killed.returncode == -signal.SIGKILL, killed.stderr

    told = []
    options = {"train": 4, "steps": 2, "images": 1, "guidance": 1.0}
    resumed = hqsim.quantize(
        tiny_model, recipe, checkpoint=state, progress=lambda *call: told.append(call), **options
    )
    assert [done for label, done, _ in told if label == "train"] == [2, 3, 4]
    whole = hqsim.quantize(tiny_model, recipe, **options)
    first, second = resumed.save(tmp_path / "a"), whole.save(tmp_path / "b")
    for name in ("config.json", "model.safetensors", "training.csv"):
        assert (first / name).read_bytes() == (second / name).read_bytes(), name
