"""``python -m benchmarks.methods``: run the journal, write the page."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from benchmarks.methods import plan
from benchmarks.methods.journal import Journal, Settings, run_units, select
from benchmarks.methods.page import write_page
from benchmarks.methods.results import Results
from benchmarks.methods.units import all_units
from hqsim.errors import HqsimError
from hqsim.io import parse_yaml

DOCS = Path(__file__).resolve().parents[2] / "docs"
KEPT = Path(__file__).resolve().parent / "record"


def main(arguments: list[str] | None = None) -> int:
    """Run what is selected and not done yet, then write the page from all that is done."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.methods", description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("out/methods"), help="folder of the journal")
    parser.add_argument("--budget", type=int, default=2000, help="updates of every training")
    parser.add_argument("--images", type=int, default=1000, help="images behind each figure")
    parser.add_argument("--ablation-images", type=int, default=200, help="the same in the ablation")
    parser.add_argument("--steps", type=int, default=20, help="DDIM steps")
    parser.add_argument("--batch", type=int, default=100, help="images of one unit of sampling, one seed")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="a hyper-parameter of all that distil"
    )
    parser.add_argument("--only", default="", help="regular expression on the names of units")
    parser.add_argument("--jobs", type=int, default=1, help="units at a time")
    parser.add_argument("--list", action="store_true", help="show the units and do nothing")
    parser.add_argument("--docs", type=Path, default=DOCS, help="folder of the page")
    parser.add_argument("--record", type=Path, default=KEPT, help="folder that keeps what was found")
    options = parser.parse_args(arguments)
    try:
        changes = "\n".join(text.replace("=", ": ", 1) for text in options.set)
        training = plan.TRAINING | (parse_yaml(changes, "--set").data if changes else {})
        settings = Settings(
            updates=options.budget, steps=options.steps, batch=options.batch, training=training
        )
        journal = Journal.open(options.work, settings, options.record)
        units = all_units(journal, images=options.images, ablation_images=options.ablation_images)
        selected = select(journal, units, options.only)
        if options.list:
            print("\n".join(f"{'done' if journal.done(u) else '-':5} {u.name}" for u in selected))
            return 0
        faults = run_units(journal, selected, jobs=options.jobs)
        print(write_page(Results(journal, options.images, options.ablation_images), options.docs))
    except HqsimError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for name, fault in faults.items():
        print(f"failed: {name}: {fault}", file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
