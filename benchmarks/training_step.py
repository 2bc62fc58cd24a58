"""What an update of a distillation takes on this machine: time and memory.

``python benchmarks/training_step.py ldm4-imagenet`` prints the seconds of every update and the most memory
that the process held while it trained, beside what ``hqsim.train.budget`` computes from shapes. The
trajectory has one step, so that calibration is short; one thread, as trainings on a CPU have. Built-in models
have random weights, which change neither.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from hqsim.models import load_model
from hqsim.quantize import load_recipe
from hqsim.train import train
from hqsim.train.budget import budget

STATUS = Path("/proc/self/status")


class EnoughUpdatesError(Exception):
    """The updates that were asked for are done; the export is not wanted."""


def held_gib(what: str) -> float:
    """Return a line of ``/proc/self/status``: ``VmRSS`` is held now, ``VmHWM`` the most so far."""
    (line,) = [line for line in STATUS.read_text().splitlines() if line.startswith(what)]
    return int(line.split()[1]) / 2**20


def main() -> None:
    """Train for a few updates and print what they took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="a built-in name or a diffusers folder")
    parser.add_argument("--recipe", default="hqdm-w4a4")
    parser.add_argument("--images", type=int, default=1, help="images per update")
    parser.add_argument("--updates", type=int, default=4)
    given = parser.parse_args()
    recipe = load_recipe(given.recipe)
    training = recipe.training.model_copy(update={"batch": given.images, "trajectory_steps": None})
    ends: list[float] = []

    def note(label: str, done: int, total: int) -> None:
        if label != "train":
            return
        if not done:
            print(f"before the first update: {held_gib('VmRSS'):.2f} GiB held", flush=True)
            Path("/proc/self/clear_refs").write_text("5")  # The most so far counts from here.
        else:
            print(f"update {done}: {time.perf_counter() - ends[-1]:.1f} s", flush=True)
        ends.append(time.perf_counter())
        if done == total:
            raise EnoughUpdatesError

    try:
        train(
            load_model(given.model),
            recipe.model_copy(update={"training": training}),
            updates=given.updates,
            steps=1,
            images=1,
            device="cpu",
            progress=note,
        )
    except EnoughUpdatesError:
        print(f"most while training: {held_gib('VmHWM'):.2f} GiB, all of the process")
    found = budget(given.model, recipe, images=given.images)
    print(f"computed from shapes: {found.total_bytes / 2**30:.2f} GiB, {2 * found.macs / 1e12:.2f} TFLOP")


if __name__ == "__main__":
    main()
