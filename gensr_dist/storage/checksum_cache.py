"""Cached checksums of large files that nobody has touched since they were last read.

A note of each lies in the user's cache folder: the checksum, and the file's size, inode and both times. No program can
set the time of the last change of an inode (ctime), so whatever is written, cut short, exchanged or copied there is
read again. What a disk changes by itself is not: `gensr verify` clears the cache.
"""

import hashlib
import os
import shutil
import time
from contextlib import suppress
from pathlib import Path

from gensr_dist.storage.durable import durable_file
from gensr_dist.storage.home import cache_home

_LEAST = 4 << 20  # bytes; a smaller file is read each time, which takes milliseconds
_SETTLED_S = 2.0  # a file that changed later may change again within the resolution of its times


def sha256_of_file(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes, which are read."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def cached_sha256(path: Path) -> str:
    """The same, of a large file from the note where there is one of its present state."""
    state = _state(path)
    if state[0] < _LEAST:
        return sha256_of_file(path)
    note, known = _notes() / hashlib.sha256(os.fsencode(path.absolute())).hexdigest(), " ".join(map(str, state))
    with suppress(OSError, ValueError):
        found, sha256 = note.read_text("utf-8").rsplit(" ", 1)
        if found == known:
            return sha256
    sha256 = sha256_of_file(path)
    if _state(path) == state and max(state[2:]) < (time.time() - _SETTLED_S) * 1e9:
        # Where there is no room for notes, files are read each time.
        with suppress(OSError), durable_file(note) as temporary:
            temporary.write_text(f"{known} {sha256}", "utf-8")
    return sha256


def clear_checksums() -> None:
    """Remove the notes: every file is read again."""
    shutil.rmtree(_notes(), ignore_errors=True)


def _state(path: Path) -> tuple[int, int, int, int]:
    status = path.stat()
    return status.st_size, status.st_ino, status.st_mtime_ns, status.st_ctime_ns


def _notes() -> Path:
    return cache_home() / "gensr_dist_checksums"
