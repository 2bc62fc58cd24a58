"""Files and folders appear whole or not at all, whatever fails in between."""

import os
import signal
import stat
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import hqsim
from hqsim.errors import InputError
from hqsim.io import atomic
from hqsim.io.atomic import new_folder, write_bytes_atomic, write_text_atomic


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_file_is_written_and_replaced(tmp_path):
    path = tmp_path / "a.bin"
    write_bytes_atomic(path, b"\x00\r\n1")
    write_bytes_atomic(path, b"2")
    assert path.read_bytes() == b"2"
    assert names(tmp_path) == ["a.bin"]


def test_text_is_utf8_with_its_own_line_ends(tmp_path):
    write_text_atomic(tmp_path / "t", "ä\r\n\n")
    assert (tmp_path / "t").read_bytes() == b"\xc3\xa4\r\n\n"


@pytest.mark.parametrize("step", ["fsync", "replace"])
@pytest.mark.parametrize("fault", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_failed_write_leaves_the_old_file_and_nothing_else(step, fault, tmp_path, monkeypatch):
    path = tmp_path / "a"
    write_bytes_atomic(path, b"old")

    def fail(*_args):
        raise fault

    monkeypatch.setattr(os, step, fail)
    with pytest.raises((KeyboardInterrupt, InputError)) as caught:
        write_bytes_atomic(path, b"new")
    monkeypatch.undo()
    if caught.type is InputError:
        assert str(caught.value) == f"{path}: cannot be written: No space left on device"
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["a"]


def test_content_reaches_the_disk_before_the_name(tmp_path, monkeypatch):
    order = []
    monkeypatch.setattr(
        os, "fsync", lambda fd: order.append("folder" if stat.S_ISDIR(os.fstat(fd).st_mode) else "file")
    )
    rename = os.replace
    monkeypatch.setattr(os, "replace", lambda *names: (order.append("rename"), rename(*names)))
    write_bytes_atomic(tmp_path / "a", b"1")
    assert order == ["file", "rename", "folder"]


def test_permissions_follow_the_umask_or_the_old_file(tmp_path):
    old = os.umask(0o027)
    try:
        write_bytes_atomic(tmp_path / "new", b"")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o640
    (tmp_path / "new").chmod(0o604)
    write_bytes_atomic(tmp_path / "new", b"")
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o604


def test_link_is_followed(tmp_path):
    (tmp_path / "target").write_text("old")
    (tmp_path / "link").symlink_to("target")
    write_text_atomic(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_text() == "new"


def test_pipe_is_written_to_and_not_replaced(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        write_text_atomic(pipe, "through")
        assert os.read(reader, 100) == b"through"
    finally:
        os.close(reader)
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_file_in_the_place_of_a_folder_or_without_a_folder(tmp_path):
    with pytest.raises(InputError, match="is a folder; give the name of a file"):
        write_bytes_atomic(tmp_path, b"")
    with pytest.raises(InputError, match=r"no/file: folder '.*/no' does not exist; make it first"):
        write_bytes_atomic(tmp_path / "no" / "file", b"")
    assert names(tmp_path) == []


@pytest.mark.parametrize("exists", [False, True])
def test_folder_appears_at_the_end(exists, tmp_path):
    path = tmp_path / "out"
    if exists:
        path.mkdir()
    with new_folder(path) as folder:
        (folder / "sub").mkdir()
        (folder / "sub" / "a").write_text("1")
        assert folder.parent == tmp_path
        assert not path.exists() or names(path) == []
    assert (path / "sub" / "a").read_text() == "1"
    assert names(tmp_path) == ["out"]


def test_missing_parents_are_made_and_removed_on_failure(tmp_path):
    with new_folder(tmp_path / "a" / "b" / "c") as folder:
        (folder / "x").write_text("1")
    assert (tmp_path / "a" / "b" / "c" / "x").exists()
    with pytest.raises(RuntimeError), new_folder(tmp_path / "d" / "e" / "f"):
        raise RuntimeError
    assert names(tmp_path) == ["a"]


@pytest.mark.parametrize("fault", [RuntimeError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("exists", [False, True])
def test_failure_while_filling_leaves_nothing(exists, fault, tmp_path):
    path = tmp_path / "out"
    if exists:
        path.mkdir()
    with pytest.raises(fault), new_folder(path) as folder:
        (folder / "half").write_text("1")
        raise fault
    assert names(tmp_path) == (["out"] if exists else [])
    assert not exists or names(path) == []


@pytest.mark.parametrize("step", ["fsync", "rename"])
def test_failure_of_the_system_at_the_end_leaves_nothing(step, tmp_path, monkeypatch):
    def fail(*_args):
        raise OSError(5, "Input/output error")

    with (
        pytest.raises(InputError, match=r"out: cannot be made: Input/output error"),
        new_folder(tmp_path / "out") as folder,
    ):
        (folder / "a").write_text("1")
        monkeypatch.setattr(os, step, fail)
    monkeypatch.undo()
    assert names(tmp_path) == []


def test_everything_in_the_folder_is_on_disk_before_the_rename(tmp_path, monkeypatch):
    order = []
    rename = os.rename
    monkeypatch.setattr(atomic, "_sync", lambda path, _flags: order.append(path.name))
    monkeypatch.setattr(os, "rename", lambda *names: (order.append("rename"), rename(*names)))
    with new_folder(tmp_path / "out") as folder:
        (folder / "a").write_text("1")
        (folder / "sub").mkdir()
        (folder / "sub" / "b").write_text("2")
        staging = folder.name
    at = order.index("rename")
    assert sorted(order[:at]) == sorted(["a", "b", "sub", staging])
    assert order[at + 1 :] == [tmp_path.name]


def test_power_cut_in_the_middle_leaves_no_folder_of_that_name(tmp_path):
    script = textwrap.dedent(
        """
        import os, signal, sys
        from pathlib import Path
        from hqsim.io.atomic import new_folder
        with new_folder(Path(sys.argv[1])) as folder:
            (folder / "config.json").write_text("{}")
            os.kill(os.getpid(), signal.SIGKILL)
        """
    )
    path = tmp_path / "out"
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)], cwd=Path(hqsim.__file__).parents[1], check=False
    )
    assert done.returncode == -signal.SIGKILL
    assert not path.exists()
    with new_folder(path) as folder:
        (folder / "config.json").write_text("whole")
    assert (path / "config.json").read_text() == "whole"


def test_folder_that_is_not_empty_is_refused_and_untouched(tmp_path):
    (tmp_path / "keep").write_text("1")
    with (
        pytest.raises(
            InputError, match=r"not empty \(it holds 1 entries\); name a new folder, or remove this one"
        ),
        new_folder(tmp_path),
    ):
        pytest.fail("the folder must be refused before it is filled")
    assert names(tmp_path) == ["keep"]


def test_folder_that_fills_up_meanwhile_is_refused_and_untouched(tmp_path):
    path = tmp_path / "out"
    with pytest.raises(InputError, match="not empty"), new_folder(path) as folder:
        (folder / "mine").write_text("1")
        path.mkdir()
        (path / "theirs").write_text("1")
    assert names(tmp_path) == ["out"]
    assert names(path) == ["theirs"]


def test_file_link_current_folder_and_mount_point_are_refused(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("1")
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to("empty")
    monkeypatch.chdir(tmp_path / "empty")
    for path, what in [
        (tmp_path / "file", "is a file where a folder is to be made"),
        (tmp_path / "link", "is a link or a mount point"),
        (tmp_path / "empty", "is the current folder; name a new folder, for example"),
        (Path("/proc"), "is a link or a mount point"),
    ]:
        with pytest.raises(InputError, match=what), new_folder(path):
            pytest.fail("the folder must be refused before it is filled")
    assert names(tmp_path) == ["empty", "file", "link"]


def test_parent_that_is_a_file_is_an_input_error(tmp_path):
    (tmp_path / "file").write_text("1")
    with (
        pytest.raises(InputError, match="cannot be made: Not a directory"),
        new_folder(tmp_path / "file" / "out"),
    ):
        pytest.fail("the folder must be refused before it is filled")
    assert names(tmp_path) == ["file"]
