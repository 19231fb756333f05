"""Folders of files, local or behind an fsspec URL (`s3://`, `gs://`, `hdfs://`, `memory://`).

    folder = Folder.at("s3://bucket/shards", Cache.at(data.cache, data.cache_gb))
    folder.sizes()                                   # {"manifest.json": 4096, "shard-00000.tar": 123456, ...}
    folder.read_json("manifest.json", remedy)        # small files, never cached
    folder.read(name, sha256, size)                  # a shard's bytes, checked; DamagedError if they are others
    with folder.file(name, sha256, size) as path:    # a local path; folder.keep(...): for the life of the process
    folder.put(name, content)                        # write one file of a remote folder

A local folder is used as it is. Remote files are read through the cache, where a file of a manifest is named by its
SHA-256 and checked while it is downloaded; no name of a remote object becomes a local path. Credentials and endpoints
come from the environment or from fsspec's own configuration, never from a config of ours.

Objects hold no connection: a forked or spawned process makes its own.
"""

import errno
import hashlib
import json
import os
import stat
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import urlsplit

from tqdm import tqdm
from typing_extensions import Self

from gensr_dist.errors import InputError
from gensr_dist.storage.cache import Cache
from gensr_dist.storage.checked_files import DamagedError
from gensr_dist.storage.records import read_json
from gensr_dist.storage.transfers import CREDENTIALS, NotFoundError, attempt, require_client

if TYPE_CHECKING:
    import fsspec

_CHUNK = 8 << 20  # bytes of one request
_GONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)  # vanished, or a link to nothing or to itself
_TRIES = 3  # downloads of a file whose checksum does not fit


@dataclass(frozen=True)
class Folder:
    """A folder that may be local or remote."""

    place: str  # path or URL without a final slash
    local: Path | None  # its path, if it is local: files are used where they lie
    cache: Cache | None = None  # for reading remote files

    @classmethod
    def at(cls, place: str | Path, cache: Cache | None = None) -> Self:
        """Name a folder; nothing is read yet and it need not exist.

        Args:
            place: a path, a `file://` URL or another URL that fsspec knows.
            cache: needed for `read`, `file` and `keep` of a remote folder.

        Raises:
            InputError: the URL's scheme is unknown, needs a package that is missing, or the URL holds a password.
        """
        text = str(place)
        if isinstance(place, Path) or "://" not in text:
            return cls(text, Path(place))
        parts = urlsplit(text)
        if parts.password or "@" in parts.netloc.rpartition("@")[0]:
            raise InputError(f"{parts.scheme}://...", "the URL holds a password", CREDENTIALS)
        if "::" in text or not parts.scheme:
            raise InputError(text, "expected a path or one URL, such as s3://bucket/folder", "correct the URL")
        path = require_client(parts.scheme, text)._strip_protocol(text)
        if parts.scheme in ("file", "local"):
            return cls(path, Path(path))
        if not path and parts.scheme != "memory":
            raise InputError(text, "the URL names no bucket", "write it as s3://bucket/folder")
        return cls(text.rstrip("/"), None, cache)

    def where(self, name: str) -> str:
        """Path or URL of a file, for messages."""
        return f"{self.place}/{_checked(name, self.place)}"

    def sizes(self) -> dict[str, int]:
        """Bytes of every file below the folder, by relative name with forward slashes; a missing folder has none.

        Raises:
            InputError: the storage cannot be read.
        """
        if self.local is not None:
            return {path.relative_to(self.local).as_posix(): size for path, size in _files_below(self.local)}
        system, root = self._connect()
        prefix = f"{root.rstrip('/')}/"

        def find() -> dict[str, dict[str, Any]]:
            system.invalidate_cache()
            return dict(system.find(root, detail=True))

        try:
            found = attempt(find, self.place)
        except NotFoundError:
            raise InputError(self.place, "there is no such bucket or folder", "correct the URL") from None
        return {
            _checked(path.removeprefix(prefix), self.place): int(record["size"])
            for path, record in sorted(found.items())
            if path.startswith(prefix) and path != prefix
        }

    def read_json(self, name: str, remedy: str) -> Any:
        """Parse a small JSON file; it is never cached.

        Raises:
            InputError: it is missing or not JSON (`remedy` says which command writes it), or cannot be reached.
        """
        if self.local is not None:
            return read_json(self.local / _checked(name, self.place), remedy)
        system, root = self._connect()
        try:
            return json.loads(attempt(lambda: system.cat_file(f"{root}/{name}"), self.where(name)))
        except NotFoundError:
            raise InputError(self.where(name), "the file does not exist", remedy) from None
        except (ValueError, RecursionError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(self.where(name), f"expected a JSON file ({error})", remedy) from None

    def read(self, name: str, sha256: str, size: int) -> bytes:
        """All bytes of a file that the manifest lists.

        Args:
            name: relative to the folder.
            sha256: its hexadecimal SHA-256.
            size: its bytes.

        Raises:
            DamagedError: the file is missing, cut short, longer or changed.
            InputError: the storage cannot be reached, or the cache has no room for it.
        """
        for _ in range(2):
            with self.file(name, sha256, size) as path:
                content = path.read_bytes()
            digest = hashlib.sha256(content).hexdigest()
            if digest == sha256:
                return content
            if self.local is not None:
                raise DamagedError(self.where(name), expected=size, size=len(content), sha256=digest)
            self._cache.discard(sha256)  # the local disk changed the copy
        raise InputError(self._cache.folder, "the disk returns other bytes than were written", "use another data.cache")

    @contextmanager
    def file(self, name: str, sha256: str, size: int) -> Iterator[Path]:
        """A path to a file that the manifest lists, valid in the block.

        It is the file itself, unchecked, or a copy that was checked when it was downloaded.

        Raises:
            DamagedError: the file is missing, or the remote one is cut short, longer or changed.
            InputError: the storage cannot be reached, or the cache has no room for it.
        """
        if self.local is not None:
            yield self._own(name, size)
        else:
            fill = self._filler(name, sha256, size, progress=False)
            with self._cache.file(sha256, size, fill, self.where(name)) as path:
                yield path

    def keep(self, name: str, sha256: str, size: int) -> Path:
        """Like `file`, for the life of the process."""
        if self.local is not None:
            return self._own(name, size)
        return self._cache.keep(sha256, size, self._filler(name, sha256, size, progress=True), self.where(name))

    def put(self, name: str, source: Path | bytes) -> None:
        """Write one file of a remote folder, from a local file or from bytes.

        Raises:
            InputError: the storage cannot be written.
        """
        system, root = self._connect()
        target = f"{root}/{_checked(name, self.place)}"
        write = (
            (lambda: system.pipe_file(target, source))
            if isinstance(source, bytes)
            else (lambda: system.put_file(str(source), target))
        )
        attempt(write, self.where(name))

    def delete(self, name: str) -> None:
        """Delete one file of a remote folder, if it is there.

        Raises:
            InputError: the storage cannot be written.
        """
        system, root = self._connect()
        with suppress(NotFoundError):
            attempt(lambda: system.rm_file(f"{root}/{_checked(name, self.place)}"), self.where(name))

    @property
    def _cache(self) -> Cache:
        assert self.cache is not None, f"{self.place} is read without a cache"
        return self.cache

    def _own(self, name: str, size: int) -> Path:
        assert self.local is not None
        path = self.local / _checked(name, self.place)
        if not path.is_file():
            raise DamagedError(str(path), expected=size, size=None)
        return path

    def _connect(self) -> "tuple[fsspec.AbstractFileSystem, str]":
        """The storage's client and the folder's path there; fsspec makes one client for each process."""
        import fsspec  # local folders do without it

        system, root = attempt(lambda: fsspec.core.url_to_fs(self.place), self.place)
        return system, root.rstrip("/")

    def _filler(self, name: str, sha256: str, size: int, *, progress: bool) -> Callable[[BinaryIO], None]:
        """What downloads a file into the cache, checking it on the way."""
        where = self.where(name)

        def fill(target: BinaryIO) -> None:
            seen = None
            for _ in range(_TRIES):
                try:
                    found = attempt(lambda: self._copy(name, target, size, progress=progress), where)
                except NotFoundError:
                    raise DamagedError(where, expected=size, size=None) from None
                if found == (size, sha256):
                    return
                if found == seen:
                    break  # not the network: the object itself has these bytes
                seen = found
            raise DamagedError(where, expected=size, size=found[0], sha256=found[1])

        return fill

    def _copy(self, name: str, target: BinaryIO, size: int, *, progress: bool) -> tuple[int, str]:
        """Write at most `size` bytes of a remote file; returns the length and SHA-256 of all of it."""
        system, root = self._connect()
        system.invalidate_cache()
        digest = hashlib.sha256()
        length = 0
        target.seek(0)
        bar = tqdm(desc=name, total=size, unit="B", unit_scale=True, leave=False, disable=None if progress else True)
        with bar, system.open(f"{root}/{name}", "rb", block_size=_CHUNK) as stream:
            while chunk := stream.read(_CHUNK):
                digest.update(chunk)
                with self._cache.explained():
                    target.write(chunk[: max(0, size - length)])
                length += len(chunk)
                bar.update(len(chunk))
        return length, digest.hexdigest()


def refuse_others(place: str | Path, names: Collection[str], what: str, remedy: str) -> None:
    """Raise InputError if there are names: files of others, in a folder whose own are about to be replaced.

    Args:
        place: path or URL of the folder.
        names: of the files that would be lost.
        what: they are.
        remedy: what to do about them.
    """
    if names:
        raise InputError(place, f"the folder holds {what} ({len(names)}, the first is {min(names)!r})", remedy)


def _files_below(folder: Path) -> Iterator[tuple[Path, int]]:
    """Files below a folder in order, with their bytes; those that vanish meanwhile are left out."""
    for path in sorted(Path(place, name) for place, _, names in os.walk(folder) for name in names):
        try:
            status = path.stat()
        except OSError as error:
            if error.errno not in _GONE:
                raise
            continue
        if stat.S_ISREG(status.st_mode):
            yield path, status.st_size


def _checked(name: str, place: str) -> str:
    """A relative name with forward slashes that stays below the folder.

    Raises:
        InputError: it does not.
    """
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts or "\\" in name:
        raise InputError(f"{place}/{name}", "the name leads outside the folder", "delete or rename this file")
    return name
