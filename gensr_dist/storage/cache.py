"""A folder of copies of remote files: limited in size, shared by all processes of a machine.

    cache = Cache.at("", gigabytes=50)                     # ~/.cache/gensr_dist
    with cache.file(key, size, fill, where) as path: ...   # the copy stays while the block runs
    path = cache.keep(key, size, fill, where)              # ... or while the process lives

A copy is a file named by its key; what has another name is of others, and neither counted nor deleted. Locks are
flocks on the copies themselves, so that a killed process leaves none:

- shared on a copy: it is in use and is not evicted;
- exclusive on `KEY.part`: one process downloads, the others wait for it. The part has its full length from the start,
  which reserves the room. It is renamed to `KEY` once it is whole. A part that nobody has locked was left by a killed
  process;
- exclusive on `lock`: one process at a time makes room and reserves it.

So the lengths of all copies never add up to more than the limit. A copy's modification time is that of its last use.
"""

import errno
import fcntl
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from typing_extensions import Self

from gensr_dist.errors import InputError
from gensr_dist.storage.home import at_home, cache_home

Fill = Callable[[BinaryIO], None]  # writes the whole file from its start, or raises
_PART = ".part"
_POLL_S = 0.05
_LOCK = "lock"
_OURS = re.compile(rf"[0-9a-f]{{64}}({re.escape(_PART)})?", re.ASCII)


@dataclass(frozen=True)
class _Held:
    """An open, locked file."""

    descriptor: int
    process: int

    def release(self) -> None:
        # A forked child has the same open file: unlocking there would take the parent's lock away.
        if os.getpid() == self.process:
            fcntl.flock(self.descriptor, fcntl.LOCK_UN)
        os.close(self.descriptor)


_kept: dict[Path, _Held] = {}  # locks for the life of the process


@dataclass(frozen=True)
class Cache:
    """Copies in one folder, at most `limit` bytes of them."""

    folder: Path
    limit: int
    patience_s: float = 120.0  # waits that long for room that files in use take

    @classmethod
    def at(cls, folder: str, gigabytes: float) -> Self:
        """The cache of the settings `data.cache` ("" is the user's cache folder) and `data.cache_gb`."""
        place = Path(at_home(folder)) if folder else cache_home() / "gensr_dist"
        return cls(place.absolute(), int(gigabytes * 1e9))

    @contextmanager
    def file(self, key: str, size: int, fill: Fill, where: str) -> Iterator[Path]:
        """Give the copy of a file; it is neither changed nor evicted while the block runs.

        Args:
            key: names the contents: their hexadecimal SHA-256.
            size: bytes of the file.
            fill: called to write the file where there is no copy; nothing is kept if it raises.
            where: the file, for messages.

        Raises:
            InputError: the file is larger than the limit, files in use leave no room for it, or the cache folder
                cannot be written.
        """
        held = self._obtain(key, size, fill, where)
        try:
            yield self.folder / key
        finally:
            held.release()

    def keep(self, key: str, size: int, fill: Fill, where: str) -> Path:
        """Like `file`, for the life of the process."""
        path = self.folder / key
        if path not in _kept or not _is_at(_kept[path].descriptor, path):
            _kept[path] = self._obtain(key, size, fill, where)
        return path

    def discard(self, key: str) -> None:
        """Forget a copy that turned out damaged; who has it open still reads it."""
        (self.folder / key).unlink(missing_ok=True)

    def _obtain(self, key: str, size: int, fill: Fill, where: str) -> _Held:
        if size > self.limit:
            raise InputError(
                where,
                f"the file has {size / 1e9:.3g} GB, the cache holds {self.limit / 1e9:.3g} GB",
                "raise data.cache_gb, or prepare smaller shards with a smaller data.samples_per_shard",
            )
        with self.explained():
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            while True:
                held = self._open_copy(key, size) or self._make_copy(key, size, fill, where)
                if held is not None:
                    return held

    def _open_copy(self, key: str, size: int) -> _Held | None:
        """Lock a copy that is there; None if there is none."""
        path = self.folder / key
        try:
            held = _Held(os.open(path, os.O_RDWR), os.getpid())
        except FileNotFoundError:
            return None
        fcntl.flock(held.descriptor, fcntl.LOCK_SH)
        if _is_at(held.descriptor, path):
            if os.fstat(held.descriptor).st_size == size:
                _mark_used(held.descriptor)
                return held
            self.discard(key)
        held.release()
        return None

    def _make_copy(self, key: str, size: int, fill: Fill, where: str) -> _Held | None:
        """Download; None if another process did so meanwhile, or evicted the copy at once."""
        path, part = self.folder / key, self.folder / f"{key}{_PART}"
        held = _Held(os.open(part, os.O_RDWR | os.O_CREAT, 0o600), os.getpid())
        try:
            if not _lock_while_at(held.descriptor, part):  # finished or given up by the one who had the lock
                held.release()
                return None
            if path.exists():
                part.unlink()
                held.release()
                return None
            try:
                self._reserve(held.descriptor, size, where)
                with os.fdopen(os.dup(held.descriptor), "r+b") as file:
                    fill(file)
                    file.flush()
                    os.fsync(file.fileno())
                _mark_used(held.descriptor)
                with self._alone():  # who counts sees it under one name
                    part.rename(path)
            except BaseException:
                part.unlink(missing_ok=True)
                raise
            fcntl.flock(held.descriptor, fcntl.LOCK_SH)  # not atomic: an eviction can come between
            if _is_at(held.descriptor, path):
                return held
        except BaseException:
            held.release()
            raise
        held.release()
        return None

    def _reserve(self, descriptor: int, size: int, where: str) -> None:
        """Give a part its full length, after evicting as many copies as that takes."""
        deadline = time.monotonic() + self.patience_s
        os.ftruncate(descriptor, 0)
        while True:
            with self._alone():
                lacking = self._evict(size)
                if lacking <= 0:
                    os.ftruncate(descriptor, size)
                    return
            kept = sum(os.fstat(held.descriptor).st_size for held in _kept.values())  # never given back
            if size + kept > self.limit or time.monotonic() > deadline:
                raise InputError(
                    where,
                    f"the cache {self.folder} of {self.limit / 1e9:.3g} GB is full of files in use",
                    "raise data.cache_gb: it must hold the item store and one shard for every reading process",
                )
            time.sleep(_POLL_S)

    def _evict(self, size: int) -> int:
        """Delete stale parts, then copies from the least recently used on; returns the bytes still lacking."""
        found = []
        for entry in os.scandir(self.folder):
            if not _OURS.fullmatch(entry.name):
                continue
            try:
                status = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            found.append((not entry.name.endswith(_PART), status.st_mtime_ns, Path(entry.path), status.st_size))
        lacking = sum(length for *_, length in found) + size - self.limit
        for is_copy, _, path, length in sorted(found):
            if is_copy and lacking <= 0:
                break
            if _delete_unused(path):
                lacking -= length
        return lacking

    @contextmanager
    def _alone(self) -> Iterator[None]:
        held = _Held(os.open(self.folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o600), os.getpid())
        try:
            fcntl.flock(held.descriptor, fcntl.LOCK_EX)
            yield
        finally:
            held.release()

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Turn what the local disk raises into an InputError."""
        try:
            yield
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            raise InputError(
                self.folder,
                f"the cache folder cannot be used ({error.strerror or error})",
                "free space on this disk or lower data.cache_gb" if full else "set data.cache to a folder of your own",
            ) from None


def _is_at(descriptor: int, path: Path) -> bool:
    """Whether an open file still has this name."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _mark_used(descriptor: int) -> None:
    now = time.time_ns()  # the kernel's own time stamps are only good to milliseconds
    os.utime(descriptor, ns=(now, now))


def _lock_while_at(descriptor: int, path: Path) -> bool:
    """Lock a file exclusively as soon as nobody else has it; False once it has lost its name."""
    while _is_at(descriptor, path):
        if _lock_now(descriptor):
            return _is_at(descriptor, path)
        time.sleep(_POLL_S)  # not a blocking call: after a download its lock stays, for reading
    return False


def _lock_now(descriptor: int) -> bool:
    """Lock a file exclusively unless somebody else has a lock on it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _delete_unused(path: Path) -> bool:
    """Delete a file unless a process has locked it."""
    try:
        descriptor = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return True
    try:
        if not _lock_now(descriptor) or not _is_at(descriptor, path):
            return False
        path.unlink()
        return True
    finally:
        os.close(descriptor)
