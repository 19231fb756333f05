"""What files were like when they were written: whoever reads them finds out whether they still are.

Of a large file only the first look reads all bytes, see `checksum_cache.py`.
"""

import errno
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from gensr_dist.errors import InputError
from gensr_dist.storage.checksum_cache import cached_sha256, sha256_of_file

REMEDY = "run `gensr prepare` again, or copy the folder again from where it was whole"


def unreadable(where: Path | str, error: OSError) -> InputError:
    """The line about a file that is there and cannot be read, whatever it holds."""
    remedy = "check its permissions and the disk"
    if error.errno in (errno.EMFILE, errno.ENFILE):
        remedy = "raise the limit of open files, as by ulimit -n 4096"
    return InputError(where, f"the file cannot be read ({error.strerror or error})", remedy)


class DamagedError(InputError):
    """A listed file is missing, cut short, longer or changed.

    Args:
        where: path or URL of the file.
        expected: bytes that the manifest lists.
        size: bytes found; None if there is no file.
        sha256: hexadecimal SHA-256 of what was found, where it was computed; tells which other shard it is.
        remedy: what to do about it.
    """

    def __init__(self, where: str, *, expected: int, size: int | None, sha256: str = "", remedy: str = REMEDY) -> None:
        if size is None:
            problem = "the manifest lists this file, but it is missing"
        elif size < expected:
            problem = f"the file is cut short: {size} of {expected} bytes"
        elif size > expected:
            problem = f"the file has grown: {size} bytes instead of {expected}"
        else:
            problem = "the file was changed: its checksum does not match the manifest"
        super().__init__(where, problem, remedy)
        self.size = size
        self.sha256 = sha256

    def __reduce__(self) -> tuple[type[InputError], tuple[str, str, str]]:
        """Between processes the line alone travels."""
        return InputError, (self.where, self.problem, self.remedy)


@dataclass(frozen=True, kw_only=True)
class FileRecord:
    """One file of a folder."""

    name: str  # relative to the folder, with forward slashes
    bytes: int
    sha256: str

    def damage(self, path: Path, where: str = "", remedy: str = REMEDY) -> InputError | None:
        """How a local file differs from this record; None if it does not.

        Args:
            path: of the file, or of a copy of it.
            where: path or URL for messages, that of `path` by default.
            remedy: what to do about damage.
        """
        where = where or str(path)
        try:
            size, sha256 = path.stat().st_size, cached_sha256(path)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return DamagedError(where, expected=self.bytes, size=None, remedy=remedy)
        except OSError as error:
            return unreadable(where, error)
        if (size, sha256) == (self.bytes, self.sha256):
            return None
        other = sha256 if sha256 != self.sha256 else ""  # equal, and the size is wrong: a forged record
        return DamagedError(where, expected=self.bytes, size=size, sha256=other, remedy=remedy)


@dataclass(frozen=True, kw_only=True)
class CheckedFiles:
    """A record of files, which a class of what a folder holds inherits; JSON on disk."""

    files: tuple[FileRecord, ...]

    def require(self, path: Path, names: Collection[str], remedy: str) -> None:
        """Raise InputError unless the record is of these files and all of them are as they were.

        Args:
            path: of the record, in the folder of the files.
            names: of the files.
            remedy: what to do about a missing or changed one.
        """
        if sorted(file.name for file in self.files) != sorted(names):
            raise InputError(path, f"expected records of {', '.join(names)}", remedy)
        for file in self.files:
            if damage := file.damage(path.parent / file.name, remedy=remedy):
                raise damage


def record_files(folder: Path, paths: Iterable[Path] | None = None) -> tuple[FileRecord, ...]:
    """Describe files below `folder`, by default all that it holds itself, in order of their names."""
    return tuple(
        FileRecord(name=path.relative_to(folder).as_posix(), bytes=path.stat().st_size, sha256=sha256_of_file(path))
        for path in sorted(folder.iterdir() if paths is None else paths)
    )
