"""The journal of the methods' study: order, resumption after a kill, faults, and stale results."""

import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from benchmarks.methods.journal import Journal, Settings, run_units, select
from hqsim.errors import InputError, UnsupportedError

LOG = "log.txt"


@dataclass(frozen=True)
class Note:
    """A unit that writes its name into a log."""

    name: str
    needs: tuple = ()
    key: str = "k"
    fault: str = ""
    kept: bool = False

    def run(self, journal, out):
        if self.fault == "kill":
            (out / "half").write_text("half of it")
            os.kill(os.getpid(), signal.SIGKILL)
        if self.fault:
            raise UnsupportedError(self.fault)
        with (journal.folder / LOG).open("a") as log:
            log.write(f"{self.name}\n")


A = Note("model/a")
B = Note("samples/a/0", (A,))
C = Note("figures/a", (B,))


@pytest.fixture
def journal(tmp_path):
    return Journal.open(tmp_path / "work", Settings(updates=3))


def _log(journal):
    return (journal.folder / LOG).read_text().split()


@pytest.mark.parametrize("jobs", [1, 2])
def test_units_run_after_what_they_need_and_once(journal, jobs):
    units = select(journal, [C, A], "")
    assert run_units(journal, units, jobs=jobs) == {}
    assert run_units(journal, units, jobs=jobs) == {}
    assert _log(journal) == ["model/a", "samples/a/0", "figures/a"]


def test_a_selection_brings_what_it_needs(journal):
    other = Note("model/b")
    found = select(journal, [other, C], "^figures")
    assert [unit.name for unit in found] == ["model/a", "samples/a/0", "figures/a"]


def test_a_fault_stops_only_what_rests_on_it(journal, capsys):
    bad = Note("model/bad", fault="this machine has no such thing")
    faults = run_units(journal, select(journal, [Note("figures/bad", (bad,)), C], ""))
    assert faults == {
        "model/bad": "this machine has no such thing",
        "figures/bad": "needs a unit that failed",
    }
    assert journal.done(C) and not journal.done(bad)
    assert "model/bad: FAILED" in capsys.readouterr().out


def test_a_killed_unit_leaves_nothing_that_looks_done(tmp_path):
    program = (
        "from benchmarks.methods.journal import Journal, Settings, run_units\n"
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from test_methods_journal import A, Note\n"
        f"journal = Journal.open(__import__('pathlib').Path({str(tmp_path)!r}), Settings(updates=3))\n"
        "run_units(journal, [A, Note('samples/a/0', (A,), fault='kill')])\n"
    )
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=root, env={**os.environ, "PYTHONPATH": str(root)}
    )
    assert done.returncode == -signal.SIGKILL
    journal = Journal.open(tmp_path, Settings(updates=3))
    assert journal.done(A) and not journal.done(B)
    assert run_units(journal, [A, B, C]) == {}
    assert _log(journal) == ["model/a", "samples/a/0", "figures/a"]


def test_other_settings_are_refused(journal):
    with pytest.raises(InputError, match=r"work: was made with \{'updates': 3.*name a new folder$"):
        Journal.open(journal.folder, Settings(updates=4))


def test_results_of_another_recipe_are_refused(journal):
    run_units(journal, [A])
    with pytest.raises(InputError, match=r"model/a: was made from another recipe than today's; remove every"):
        run_units(journal, [Note("model/a", key="other")])


def test_what_is_kept_outlives_the_work_folder(tmp_path, journal):
    """Another work folder with the same record has only to do what is not kept, and what rests on that."""
    record, kept = tmp_path / "record", Note("figures/a", (B,), kept=True)
    first = Journal.open(tmp_path / "first", Settings(updates=3), record)
    assert run_units(first, select(first, [kept], "")) == {}
    assert sorted(path.name for path in record.iterdir()) == ["figures", "settings.json"]
    second = Journal.open(tmp_path / "second", Settings(updates=3), record)
    assert second.done(kept) and not second.done(A)
    assert second.path(kept) == record / "figures/a"
    assert select(second, [kept], "") == [kept]
    other = Note("figures/other", (A,))
    assert select(second, [kept, other], "") == [kept, A, other]


def test_a_record_of_other_settings_is_refused(tmp_path):
    Journal.open(tmp_path / "first", Settings(updates=3), tmp_path / "record")
    with pytest.raises(InputError, match=r"record: was made with \{'updates': 3.*name a new folder$"):
        Journal.open(tmp_path / "second", Settings(updates=4), tmp_path / "record")
