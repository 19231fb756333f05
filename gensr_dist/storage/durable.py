"""Writing results so that a reader sees the old one or the new one, never half of one, and after a power cut too."""

import errno
import glob
import os
import re
import shutil
import socket
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gensr_dist.errors import InputError
from gensr_dist.storage.output_errors import numbered_errors

_DAY = 86_400.0  # seconds
_CANNOT_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EBADF)


@contextmanager
def durable_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path next to `path`; rename it over `path` when the block ends well, else delete it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _beside(path, "tmp")
    try:
        with numbered_errors(path):
            yield temporary
            _give_usual_mode(temporary)
            _sync(temporary)
            temporary.replace(path)
            _sync(path.parent)
    except OSError as error:
        if error.filename == str(temporary):  # a name that the user never gave
            error.filename = str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def durable_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder next to `path`; it takes the place of `path` when the block ends well.

    What killed processes left of earlier attempts is deleted. Of a link, the folder that it names is replaced.

    Raises:
        InputError: a disk is mounted at `path`; known before any work is done.
    """
    path = path.resolve()
    if path.is_mount():
        raise InputError(path, "it is a mount point, which cannot be replaced as a whole", "give a folder below it")
    path.parent.mkdir(parents=True, exist_ok=True)
    sweep(path)
    temporary, replaced = _beside(path, "tmp"), _beside(path, "old")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        with numbered_errors(path):
            yield temporary
            _give_usual_mode(temporary)
            for written in (*temporary.rglob("*"), temporary):
                _sync(written)
            if path.exists():
                path.rename(replaced)
            temporary.rename(path)
            _sync(path.parent)
    finally:
        if replaced.exists() and not os.path.lexists(path):  # the new one could not take its name
            replaced.rename(path)
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(replaced, ignore_errors=True)


def _beside(path: Path, kind: str) -> Path:
    """A name next to `path` that no other process has, on this host or on another that shares the disk."""
    return path.with_name(f".{path.name}.{_host()}.{os.getpid()}.{kind}")


def _host() -> str:
    return socket.gethostname().replace(".", "_")


def _give_usual_mode(path: Path) -> None:
    """Give a new file, or all files of a new folder, the mode that a file made with `open` has here.

    Some libraries write through a temporary file of their own, which only its owner may read.
    """
    # Asked of the file system: the umask cannot be read without changing it, and a folder's default rules come first.
    probe = path.with_name(f".{path.name}.{os.getpid()}.mode") if path.is_file() else path / ".mode"
    probe.touch()
    mode = stat.S_IMODE(probe.stat().st_mode)
    probe.unlink()
    for file in (path,) if path.is_file() else path.rglob("*"):
        if file.is_file() and not file.is_symlink() and stat.S_IMODE(file.stat().st_mode) != mode:
            file.chmod(mode)


def _sync(path: Path) -> None:
    """Make what was written into a file, or renamed inside a folder, last through a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _CANNOT_SYNC:  # some that are mounted over a network, above all of folders
            raise
    finally:
        os.close(descriptor)


def sweep(path: Path) -> None:
    """Delete temporary files and folders of `path` whose process is gone; of other hosts, a day after the last change.

    One that was killed after it put the old folder aside and before the new one had its name left no `path`: the old
    one gets its name back.
    """
    orphans = [left for left in path.parent.glob(f".{glob.escape(path.name)}.*") if _is_orphan(left, path.name)]
    aside = [left for left in orphans if left.suffix == ".old"]
    if aside and not os.path.lexists(path):
        max(aside, key=lambda left: left.stat().st_mtime_ns).rename(path)
    for left in orphans:
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)


def _is_orphan(left: Path, name: str) -> bool:
    owner = re.fullmatch(re.escape(f".{name}.") + r"(?P<host>[^.]+)\.(?P<process>\d+)\.(tmp|old)", left.name)
    if owner is None:
        return False
    if owner["host"] == _host():
        return not Path(f"/proc/{owner['process']}").exists()
    return time.time() - left.lstat().st_mtime > _DAY
