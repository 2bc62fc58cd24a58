"""The journal: a unit of work is a folder, and the folder appears when the unit is complete.

What a unit that is *kept* has found, a few kilobytes, is copied into a record, which is committed: another
machine goes on from there, without the models and images that stay in the work folder.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import time
import traceback
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import asdict, dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Protocol

from hqsim.errors import HqsimError, InputError
from hqsim.io import new_folder, write_text_atomic

RECORD = "unit.json"
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


@dataclass(frozen=True)
class Settings:
    """What every unit of a work folder has in common.

    ``training`` replaces hyper-parameters in the ``training`` section of every recipe that distils.
    """

    updates: int
    seed: int = 0
    steps: int = 20
    batch: int = 100
    training: Mapping[str, Any] = field(default_factory=dict)


class Unit(Protocol):
    """One piece of work; small enough to be lost at a kill."""

    @property
    def name(self) -> str:
        """Its folder, relative to the work folder."""
        ...

    @property
    def key(self) -> str:
        """A hash of what it is made from."""
        ...

    @property
    def needs(self) -> tuple[Unit, ...]:
        """Units that must be done before."""
        ...

    @property
    def kept(self) -> bool:
        """Whether its folder joins the record."""
        ...

    def run(self, journal: Journal, out: Path) -> None:
        """Fill ``out``."""
        ...


class Journal:
    """A work folder, and the record of what was found before, here or elsewhere."""

    def __init__(self, folder: Path, settings: Settings, record: Path | None = None) -> None:
        self.folder = folder
        self.settings = settings
        self.record = record

    @classmethod
    def open(cls, folder: Path, settings: Settings, record: Path | None = None) -> Journal:
        """Make or continue a work folder.

        Raises
        ------
        InputError
            When it, or the record, was made with other settings.
        """
        for place in (folder, record) if record else (folder,):
            path, text = place / "settings.json", json.dumps(asdict(settings), indent=1) + "\n"
            if path.exists():
                if (found := json.loads(path.read_text())) != asdict(settings):
                    raise InputError(
                        f"{place}: was made with {found}, got {asdict(settings)}; name a new folder"
                    )
            else:
                place.mkdir(parents=True, exist_ok=True)
                write_text_atomic(path, text)
        return cls(folder, settings, record)

    def path(self, unit: Unit) -> Path:
        """Return the folder of a unit: in the work folder, or in the record when only that has it."""
        own = self.folder / unit.name
        if self.record is None or own.exists():
            return own
        kept = self.record / unit.name
        return kept if kept.exists() else own

    def done(self, unit: Unit) -> bool:
        """Tell whether a unit is complete.

        Raises
        ------
        InputError
            When it was made from something else: a recipe that changed since.
        """
        record = self.path(unit) / RECORD
        if not record.exists():
            return False
        if json.loads(record.read_text())["key"] != unit.key:
            raise InputError(
                f"{self.path(unit)}: was made from another recipe than today's; remove every folder of "
                f"'{unit.name.split('/')[1]}' below {self.folder}{self._and_record()}, or name new folders"
            )
        return True

    def run(self, unit: Unit) -> float:
        """Do a unit and return the seconds that it took."""
        start = time.perf_counter()
        with new_folder(self.path(unit)) as out:
            unit.run(self, out)
            seconds = time.perf_counter() - start
            record = {"unit": unit.name, "key": unit.key, "seconds": round(seconds, 1)}
            write_text_atomic(out / RECORD, json.dumps(record, indent=1) + "\n")
        if self.record and unit.kept:
            with new_folder(self.record / unit.name) as out:
                shutil.copytree(self.path(unit), out, dirs_exist_ok=True)
        return seconds

    def _and_record(self) -> str:
        return f" and {self.record}" if self.record else ""


def select(journal: Journal, units: Iterable[Unit], only: str) -> list[Unit]:
    """Return the units whose name matches a regular expression, each once.

    What an unfinished one needs stands before it.
    """
    found: dict[str, Unit] = {}

    def add(unit: Unit) -> None:
        for need in () if journal.done(unit) else unit.needs:
            add(need)
        found.setdefault(unit.name, unit)

    for unit in units:
        if re.search(only, unit.name):
            add(unit)
    return list(found.values())


def run_units(journal: Journal, units: Sequence[Unit], *, jobs: int = 1) -> Mapping[str, str]:
    """Do what is not done yet, first things first; return the faults by unit.

    A fault ends its unit and what needs it, nothing else: a night's other units go on.
    """
    pending = [unit for unit in units if not journal.done(unit)]
    faults: dict[str, str] = {}
    total, left = len(units), len(pending)
    print(f"{total - left} of {total} units are done, {left} to do", flush=True)
    pool = _pool(jobs) if jobs > 1 else None
    running: dict[Future[float | str], Unit] = {}
    try:
        while pending or running:
            for unit in list(pending):
                if any(need.name in faults for need in unit.needs):
                    faults[unit.name] = "needs a unit that failed"
                    pending.remove(unit)
                elif len(running) < jobs and all(journal.done(need) for need in unit.needs):
                    pending.remove(unit)
                    if pool is None:
                        _report(unit, attempt(journal, unit), faults)
                        break
                    running[pool.submit(attempt, journal, unit)] = unit
            if running:
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    _report(running.pop(future), future.result(), faults)
    finally:
        if pool is not None:
            pool.shutdown(cancel_futures=True)
    return faults


def attempt(journal: Journal, unit: Unit) -> float | str:
    """Do a unit; return its seconds, or what went wrong."""
    try:
        return journal.run(unit)
    except HqsimError as error:
        return str(error)
    except Exception:
        return traceback.format_exc()


def _report(unit: Unit, outcome: float | str, faults: dict[str, str]) -> None:
    if isinstance(outcome, str):
        faults[unit.name] = outcome.strip().splitlines()[-1]
        print(f"{unit.name}: FAILED\n{outcome}", flush=True)
    else:
        print(f"{unit.name}: {outcome:.1f} s", flush=True)


def _pool(jobs: int) -> ProcessPoolExecutor:
    """Fresh processes that share the cores."""
    threads = str(max(1, (os.cpu_count() or 1) // jobs))
    return ProcessPoolExecutor(
        jobs, mp_context=get_context("spawn"), initializer=_limit_threads, initargs=(threads,)
    )


def _limit_threads(threads: str) -> None:
    """Say how many threads a process may use, before it loads what reads that."""
    for variable in THREAD_VARIABLES:
        os.environ.setdefault(variable, threads)
