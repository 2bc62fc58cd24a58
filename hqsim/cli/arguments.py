"""Arguments that several verbs share, and the checks that come before any work."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from hqsim.errors import InputError

if TYPE_CHECKING:
    from hqsim.models import Model
    from hqsim.quantize import QuantizedModel

QUANTIZED_KIND = "quantized-model"

JsonOption = Annotated[
    str | None,
    typer.Option(
        "--json", metavar="FILE", help="Write the result as JSON ('-': to stdout, and nothing else)."
    ),
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="No tables and no progress.")]
ModelArgument = Annotated[
    str, typer.Argument(metavar="MODEL", help="A built-in name (see 'hqsim models') or a diffusers folder.")
]
ModelOrFolderArgument = Annotated[
    str,
    typer.Argument(
        metavar="MODEL|DIR", help="A model as for 'quantize', or the folder of a quantized model."
    ),
]
FolderArgument = Annotated[
    str,
    typer.Argument(metavar="DIR", help="The folder of a quantized model ('hqsim quantize ... --out DIR')."),
]
SeedOption = Annotated[int, typer.Option("--seed", min=0, help="Seed of every random number.")]
StepsOption = Annotated[int, typer.Option("--steps", min=1, help="Denoising steps of the sampler.")]
GuidanceOption = Annotated[
    float | None,
    typer.Option(
        "--guidance", metavar="W", help="Weight of classifier-free guidance (default: the model's own)."
    ),
]


class SpreadCommand(TyperCommand):
    """A command whose repeatable options take several values at once: ``--hardware A B C``.

    The values end at the next option, so positional arguments come before such an option.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Repeat the option before each of its values, then parse as usual."""
        names = [name for option in self.params if option.multiple for name in option.opts]
        return super().parse_args(ctx, spread(args, names))


def spread(arguments: list[str], names: list[str]) -> list[str]:
    """Rewrite ``NAME A B`` as ``NAME A NAME B`` for every option in ``names``; a ``--`` ends it."""
    result: list[str] = []
    current = ""
    values = 0
    for position, argument in enumerate(arguments):
        if argument == "--":
            return result + arguments[position:]
        if argument.startswith("-") and argument != "-":
            name, equals, _ = argument.partition("=")
            current, values = (name if name in names else ""), len(equals)
        elif current:
            if values:
                result.append(current)
            values += 1
        result.append(argument)
    return result


def split_commas(values: list[str]) -> list[str]:
    """``["a,b", "c"]`` -> ``["a", "b", "c"]``; empty parts are dropped."""
    return [part.strip() for value in values for part in value.split(",") if part.strip()]


def check_new_folder(folder: Path, *, option: str = "--out") -> None:
    """Refuse an output folder that `hqsim.io.new_folder` would refuse after the work.

    Raises
    ------
    InputError
        ``folder`` holds anything, is a file, a link, a mount point or the current folder, or cannot be
        written.
    """
    place = f"{option} {folder}"
    if folder.is_symlink() or os.path.ismount(folder):
        raise InputError(f"{place}: is a link or a mount point; give a new folder, like {folder / 'run'}.")
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{place}: is a file; give a new or an empty folder.")
    if folder.is_dir() and folder.samefile(Path.cwd()):
        raise InputError(f"{place}: is the current folder; give a new folder, like {folder / 'run'}.")
    if folder.is_dir() and any(folder.iterdir()):
        raise InputError(f"{place}: the folder is not empty; give a new or an empty folder.")
    home = next(parent for parent in Path(os.path.abspath(folder)).parents if parent.exists())
    if not home.is_dir() or not os.access(home, os.W_OK):
        raise InputError(f"{place}: '{home}' is no folder that can be written; give a place that is.")


def check_parent(path: Path, *, option: str) -> None:
    """Refuse an output file whose folder does not exist, or that is itself a folder.

    Raises
    ------
    InputError
        The file cannot be written where it is asked for.
    """
    if path.is_dir():
        raise InputError(f"{option} {path}: is a folder; give the name of a file.")
    if not path.parent.is_dir():
        raise InputError(f"{option} {path}: the folder '{path.parent}' does not exist; make it first.")


def is_quantized_folder(name: str) -> bool:
    """Whether ``name`` is the folder of a quantized model (its ``config.json`` says so)."""
    config = Path(name) / "config.json"
    if not config.is_file():
        return False
    try:
        content = json.loads(config.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{config}: is not JSON ({error}); the folder is damaged, make it again.") from error
    return isinstance(content, dict) and content.get("kind") == QUANTIZED_KIND


def load_quantized_folder(name: str) -> QuantizedModel:
    """Load the quantized model of folder ``name``.

    Raises
    ------
    InputError
        ``name`` is not such a folder, or what it holds is damaged.
    """
    if not is_quantized_folder(name):
        raise InputError(
            f"'{name}' is not the folder of a quantized model; "
            f"make one with 'hqsim quantize MODEL --recipe R --out DIR'."
        )
    from hqsim.quantize import load_quantized

    return load_quantized(Path(name))


def load_any(name: str) -> Model | QuantizedModel:
    """Load the quantized model of folder ``name``, or the model called ``name`` without its weights."""
    if is_quantized_folder(name):
        return load_quantized_folder(name)
    from hqsim.models import load_model

    return load_model(name, weights=False)
