"""Files and folders that appear whole or not at all: temporary sibling, flush, fsync, rename."""

from __future__ import annotations

import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from hqsim.errors import InputError


def write_text_atomic(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8 with unchanged line ends; see `write_bytes_atomic`."""
    write_bytes_atomic(path, text.encode("utf-8"))


def write_bytes_atomic(path: Path, data: bytes) -> None:
    """Replace the file at ``path`` by ``data``: a reader sees the old content or the new, never a part.

    A link is followed, an existing file keeps its permissions, and a device or pipe (``/dev/stdout``) is
    written to directly.

    Raises
    ------
    InputError
        If ``path`` is a folder, its folder does not exist, or the system refuses the write.
    """
    target = Path(os.path.realpath(path))
    if target.is_dir():
        raise InputError(f"{path}: is a folder; give the name of a file")
    if not target.parent.is_dir():
        raise InputError(f"{path}: folder '{path.parent}' does not exist; make it first")
    try:
        if path.exists() and not path.is_file():
            path.write_bytes(data)
        else:
            _replace_file(target, data)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror or error}") from error


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Give a temporary sibling of ``path`` to fill; on success it becomes ``path``, else it is removed.

    Missing parents are made, and removed again on failure. ``path`` may exist as an empty folder.

    Yields
    ------
    Path
        The folder to write into. Everything in it is on disk before the rename, so that after a power cut
        ``path`` is complete or absent.

    Raises
    ------
    InputError
        If ``path`` is a file, a folder that is not empty, the current folder, a link or a mount point, or
        if the system refuses.
    """
    _check_free(path)
    target = Path(os.path.abspath(path))
    made_parents: list[Path] = []
    staging = target.parent / _temporary_name()
    try:
        with _system_errors_as_input_errors(path):
            _make_parents(target.parent, made_parents)
            staging.mkdir()
        yield staging
        with _system_errors_as_input_errors(path):
            _sync_tree(staging)
            _check_free(path)
            os.rename(staging, target)
            for folder in (target.parent, *(made.parent for made in made_parents)):
                _sync_folder(folder)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        for folder in reversed(made_parents):
            with suppress(OSError):
                folder.rmdir()
        raise


def _temporary_name() -> str:
    return f".hqsim-{secrets.token_hex(8)}.tmp"


def _replace_file(target: Path, data: bytes) -> None:
    temporary = target.parent / _temporary_name()
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        with open(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        if target.exists():
            temporary.chmod(stat.S_IMODE(target.stat().st_mode))
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(target.parent)


def _check_free(path: Path) -> None:
    advice = "name a new folder, or remove this one first"
    if path.is_symlink() or os.path.ismount(path):
        raise InputError(f"{path}: is a link or a mount point; name a new folder, for example {path / 'run'}")
    if not path.exists():
        return
    if not path.is_dir():
        raise InputError(f"{path}: is a file where a folder is to be made; name a new folder")
    if path.samefile(Path.cwd()):
        raise InputError(f"{path}: is the current folder; name a new folder, for example {path / 'run'}")
    try:
        entries = len(os.listdir(path))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error
    if entries:
        raise InputError(f"{path}: the folder is not empty (it holds {entries} entries); {advice}")


def _make_parents(folder: Path, made: list[Path]) -> None:
    missing = [part for part in (folder, *folder.parents) if not part.exists()]
    for part in reversed(missing):
        part.mkdir()
        made.append(part)


def _sync_tree(folder: Path) -> None:
    for root, _, files in os.walk(folder):
        for name in files:
            _sync(Path(root, name), os.O_RDONLY)
        _sync_folder(Path(root))


def _sync_folder(folder: Path) -> None:
    _sync(folder, os.O_RDONLY | os.O_DIRECTORY)


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _system_errors_as_input_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(f"{path}: cannot be made: {error.strerror or error}") from error
