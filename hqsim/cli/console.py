"""What a verb says: tables and JSON on stdout, progress and errors on stderr."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

from hqsim.cli.arguments import check_parent
from hqsim.io.atomic import write_text_atomic

ProgressCallback = Callable[[str, int, int], None]

_PIPE_WIDTH = 200
_BINARY = ("", "Ki", "Mi", "Gi", "Ti")
_PREFIXES = (
    (1e12, "T"),
    (1e9, "G"),
    (1e6, "M"),
    (1e3, "k"),
    (1.0, ""),
    (1e-3, "m"),
    (1e-6, "µ"),
    (1e-9, "n"),
)


def report_error(message: str) -> None:
    """Write ``message`` to stderr as it is: no markup, no wrapping."""
    print(f"hqsim: {message}", file=sys.stderr)


def quantity(value: float, unit: str) -> str:
    """``value`` with three digits and a prefix: ``quantity(0.00123, "s")`` is ``1.23 ms``.

    Prefixes are decimal, but binary (KiB, MiB ...) for the unit ``B``.
    """
    if value == 0 or not math.isfinite(value):
        return f"{value:g} {unit}".rstrip()
    if unit == "B":
        power = min(int(math.log2(abs(value))) // 10, len(_BINARY) - 1) if abs(value) >= 1 else 0
        scaled = value / 1024**power
        digits = 0 if power == 0 else max(0, 2 - math.floor(math.log10(abs(scaled)) + 2e-4))
        return f"{scaled:.{digits}f} {_BINARY[power]}B"
    size = abs(value)
    scale, prefix = next((entry for entry in _PREFIXES if size >= entry[0] * 0.9995), (1e-12, "p"))
    scaled = value / scale
    digits = max(0, 2 - math.floor(math.log10(max(abs(scaled), 1e-3)) + 2e-4))
    return f"{scaled:.{digits}f} {prefix}{unit}".rstrip()


@dataclass(frozen=True)
class Output:
    """Where the result of one verb goes: ``json_target`` as given to ``--json``, and ``--quiet``.

    Made before the work starts, so that a JSON file that cannot be written is refused first.
    """

    json_target: str | None = None
    quiet: bool = False

    def __post_init__(self) -> None:
        if self.json_target is not None and self.json_target != "-":
            check_parent(Path(self.json_target), option="--json")

    @property
    def _silent(self) -> bool:
        return self.quiet or self.json_target == "-"

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Print a table; columns that hold numbers are right-aligned."""
        if self._silent:
            return
        from rich import box
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(
            title=Text(title),
            title_justify="left",
            box=box.SIMPLE_HEAD,
            show_edge=False,
            pad_edge=False,
            collapse_padding=True,
        )
        for position, name in enumerate(columns):
            numeric = bool(rows) and all(row[position][:1] in "-<0123456789" for row in rows)
            table.add_column(Text(name), justify="right" if numeric else "left", overflow="fold")
        for row in rows:
            table.add_row(*(Text(cell) for cell in row))
        # A pipe has no width: give it room enough that no cell is folded.
        width = None if sys.stdout.isatty() else _PIPE_WIDTH
        Console(file=sys.stdout, highlight=False, width=width).print(table, "")

    def pairs(self, rows: Sequence[tuple[str, str]]) -> None:
        """Print two aligned columns without a frame."""
        if self._silent:
            return
        width = max((len(label) for label, _ in rows), default=0)
        for label, text in rows:
            print(f"{label:<{width}}  {text}")

    def line(self, text: str) -> None:
        """Print one line."""
        if not self._silent:
            print(text)

    def result(self, value: Mapping[str, Any]) -> None:
        """Write ``value`` where ``--json`` said (keys in the order given, UTF-8, a final newline)."""
        if self.json_target is None:
            return
        text = json.dumps(plain(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        if self.json_target == "-":
            sys.stdout.write(text)
            return
        write_text_atomic(Path(self.json_target), text)

    @contextmanager
    def progress(self) -> Iterator[ProgressCallback | None]:
        """Give the callback that shows progress on stderr: bars on a terminal, else a line per stage."""
        if self.quiet:
            yield None
        elif sys.stderr.isatty():
            with _bars() as callback:
                yield callback
        else:
            yield _stage_lines()


def plain(value: Any) -> Any:
    """Turn dataclasses, numpy values, paths and tuples into JSON; numbers that are not finite into null."""
    if is_dataclass(value) and not isinstance(value, type):
        return {item.name: plain(getattr(value, item.name)) for item in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


@contextmanager
def _bars() -> Iterator[ProgressCallback]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    tasks: dict[str, TaskID] = {}
    with Progress(*columns, console=Console(stderr=True)) as bars:

        def callback(label: str, done: int, total: int) -> None:
            if label not in tasks:
                tasks[label] = bars.add_task(label, total=total)
            bars.update(tasks[label], completed=done, total=total)

        yield callback


def _stage_lines() -> ProgressCallback:
    seen: set[str] = set()

    def callback(label: str, done: int, total: int) -> None:
        if label not in seen:
            seen.add(label)
            print(f"{label} ...", file=sys.stderr, flush=True)

    return callback
