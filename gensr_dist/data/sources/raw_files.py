"""Files of raw logs, plain or gzip, by path or by any URL that fsspec knows."""

import gzip
import posixpath
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import IO, NamedTuple, TypeVar, cast

import fsspec
import polars as pl
import pyarrow as pa

from gensr_dist.errors import InputError
from gensr_dist.storage.transfers import NotFoundError, attempt

GZIP_MAGIC = b"\x1f\x8b"
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
CHUNK_BYTES = 64 << 20
LONGEST_SHOWN = 60  # characters of a wrong value that an error repeats
_Value = TypeVar("_Value")


class Look(NamedTuple):
    """The beginning of a file as it is written."""

    names: tuple[str, ...]  # of columns or fields
    first: pl.DataFrame  # String: those that the source reads, in the first rows

    @classmethod
    def of(cls, names: Iterable[str], wanted: Sequence[str], rows: Sequence[Mapping[str, object]]) -> "Look":
        """The texts of the wanted columns in some rows, which may lack some."""
        texts = {name: [shown(without_surrogates(str(row.get(name, "")))) for row in rows] for name in wanted}
        return cls(tuple(names), pl.DataFrame(texts, schema=dict.fromkeys(wanted, pl.String())))


def base_name(file: str) -> str:
    """Last part of a path or URL."""
    return posixpath.basename(file)


def is_file(file: str) -> bool:
    """Tell whether the file exists."""
    return _ask(file, lambda system, path: bool(system.isfile(path)))


def file_size(file: str) -> int:
    """Bytes of a file."""
    return _ask(file, lambda system, path: int(system.size(path)))


def read_range(file: str, start: int, end: int) -> bytes:
    """Bytes `start` to `end` of a file, or fewer where it ends before."""
    return _ask(file, lambda system, path: cast(bytes, system.cat_file(path, start=start, end=end)))


@contextmanager
def opened(file: str) -> Iterator[IO[bytes]]:
    """Open a file for reading."""
    with _ask(file, lambda system, path: system.open(path, "rb")) as stream:
        yield stream


@contextmanager
def unzipped(file: str) -> Iterator[IO[bytes]]:
    """Open a file for reading, decompressed if it is gzip."""
    with opened(file) as raw, decompressed(raw) as stream:
        yield stream


def decompressed(raw: IO[bytes]) -> IO[bytes]:
    """What an open file holds from its beginning, gunzipped if it is gzip."""
    zipped = raw.read(len(GZIP_MAGIC)) == GZIP_MAGIC
    raw.seek(0)
    return cast(IO[bytes], gzip.GzipFile(fileobj=raw)) if zipped else raw


def lines_before(file: str, start: int) -> int:
    """Count the line breaks before byte `start` of a file, after decompression."""
    count = 0
    with unzipped(file) as stream:
        while start > 0 and (data := stream.read(min(start, CHUNK_BYTES))):
            count += data.count(b"\n")
            start -= len(data)
    return count


@contextmanager
def readable(file: str) -> Iterator[None]:
    """Turn what libraries and the system raise about a file's bytes into an InputError."""
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        problem = f"the gzip file is cut short or damaged ({error})"
        raise InputError(file, problem, "copy or download it again") from None
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, pa.ArrowException, OSError) as error:
        problem = f"the file cannot be read ({shown(str(error))})"
        raise InputError(file, problem, "check that it is complete and readable") from None


def require_file(file: str) -> None:
    """Refuse a file that is not there.

    Raises:
        InputError: it is not.
    """
    if not is_file(file):
        raise InputError(file, "the file does not exist", "check the folder given as data.raw")


def without_surrogates(text: str) -> str:
    """The text with "?" for each half of a surrogate pair, which no file can hold."""
    return text.encode("utf-8", "replace").decode("utf-8")


def shown(text: str) -> str:
    """Text of a file or another library, on one line and not long."""
    return abridged(" ".join(text.split()))


def abridged(text: str) -> str:
    """Text, not long."""
    return text if len(text) <= LONGEST_SHOWN else text[:LONGEST_SHOWN] + "..."


def _ask(file: str, action: Callable[[fsspec.AbstractFileSystem, str], _Value]) -> _Value:
    """Do something with a file; what may pass is tried again if the file is remote."""
    if "://" not in file:  # fsspec would take `::` in a name for a chain of storages
        return action(fsspec.filesystem("file"), file)
    system, path = fsspec.core.url_to_fs(file)
    try:
        return attempt(lambda: action(system, path), file)
    except NotFoundError:
        raise InputError(file, "the file does not exist", "check the folder given as data.raw") from None
