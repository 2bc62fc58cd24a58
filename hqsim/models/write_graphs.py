"""Capture the built-in models anew: ``python -m hqsim.models.write_graphs [NAME ...]``.

To be run when a capture rule or a published configuration changed; a test compares the files with captures.
"""

from __future__ import annotations

import sys

from hqsim.models.build import build
from hqsim.models.captured import GRAPHS, write
from hqsim.models.load import blueprints


def main(names: list[str]) -> None:
    """Write the files of the models called ``names``, of all without one."""
    for name, blueprint in blueprints().items():
        if not names or name in names:
            write(GRAPHS / f"{name}.json.gz", blueprint, build(blueprint))
            print(GRAPHS / f"{name}.json.gz")


if __name__ == "__main__":
    main(sys.argv[1:])
