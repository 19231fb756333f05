"""Files of tables cut into parts that can be read alone, anywhere, and give the same rows however the file is cut.

A CSV record may hold line breaks between quotes, so a line break ends a record only where the number of quotes before
it is even (a quote within a quoted field is written twice and changes nothing). A chunk of a CSV file is a range of
bytes with the parity of the quotes before it; its records are those that begin in the range. Gzip files cannot be
entered in the middle and are one chunk, which is read a block at a time; chunks of Parquet files are row groups.
"""

import gzip
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gensr_dist.data.sources.encoding import KIND_BYTES, refuse_lone_returns, refuse_other_kinds, refuse_wide
from gensr_dist.data.sources.raw_files import (
    BYTE_ORDER_MARK,
    CHUNK_BYTES,
    GZIP_MAGIC,
    abridged,
    file_size,
    lines_before,
    opened,
    read_range,
    unzipped,
)
from gensr_dist.data.spaced import spaced
from gensr_dist.errors import InputError

LONGEST_RECORD = 64 << 20  # bytes that a record may reach beyond its chunk: else an unclosed quote reads the whole file
_COUNTED_BYTES = 4 << 20
_TAIL_BYTES = 64 << 10  # read with a chunk, for its last record

Advance = Callable[[int], object]  # told how many more bytes of a file were read
Each = Callable[[Callable[[tuple[int, int]], int], Iterable[tuple[int, int]]], Iterable[int]]  # like `map`


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """A part of a file. Small and picklable: it says where the rows are and does not hold them."""

    file: str  # path or URL
    kind: Literal["csv", "gzip", "parquet"]
    start: int  # first byte, or first row group
    end: int  # the byte or row group after the last
    size: int  # bytes in the file
    header: bytes = b""  # the record with the names of columns, of CSV
    quoted: bool = False  # an odd number of quotes lies before `start`
    first_row: int = 0  # of a Parquet file
    most: int = 0  # bytes that are read of a gzip file, after decompression; 0: all


@dataclass(frozen=True)
class CsvBlock:
    """Whole records of a CSV file, without the header."""

    start: int  # byte of the file, after decompression
    data: memoryview


def cut(file: str | Path, size: int = CHUNK_BYTES, each: Each = map) -> tuple[Chunk, ...]:
    """Cut a `.csv`, `.csv.gz` or `.parquet` file into chunks of about `size` bytes, at least one.

    A CSV file of more than one chunk is read once for its quotes.

    Args:
        file: path or URL; the suffix `.parquet` and gzip's first two bytes decide the kind.
        size: bytes a chunk.
        each: runs the counts; an engine may give one that runs them on many machines.

    Raises:
        InputError: the file is missing, unreadable or empty.
        OSError: the file system cannot read it.
    """
    name = str(file)
    if name.endswith(".parquet"):
        return _row_groups(name, size)
    whole = _whole(name)
    ranges = [(start, min(start + size, whole.end)) for start in range(whole.start, whole.end, size)]
    if whole.kind == "gzip" or len(ranges) < 2:
        return (whole,)
    quoted = False
    chunks = []
    for (start, end), quotes in zip(ranges, each(partial(count_quotes, name), ranges), strict=True):
        chunks.append(replace(whole, start=start, end=end, size=end - start, quoted=quoted))
        quoted ^= bool(quotes % 2)
    return tuple(chunks)


def beginning(file: str, size: int) -> Chunk:
    """A chunk of the first records, about `size` bytes of them; of Parquet the first row group. Reads a header.

    Raises:
        InputError, OSError: as `cut`.
    """
    if file.endswith(".parquet"):
        return _row_groups(file, 1)[0]
    return shortened(_whole(file), size)


def spread(chunks: Sequence[Chunk], share: float) -> tuple[Chunk, ...]:
    """A share of the chunks of a file, evenly over it, the first and the last among them; of gzip its beginning.

    Args:
        chunks: of `cut`.
        share: above 0, below 1.
    """
    if chunks[0].kind == "gzip":
        return (replace(chunks[0], most=max(1, int(share * chunks[0].size))),)
    count = max(2, round(share * len(chunks)))
    places = spaced(len(chunks), count)
    return tuple(chunks[place] for place in places)


def shortened(chunk: Chunk, size: int) -> Chunk:
    """The part of a CSV or gzip chunk that lies within about its first `size` bytes, after decompression."""
    if chunk.kind == "gzip":
        return replace(chunk, most=size)
    return replace(chunk, end=min(chunk.start + size, chunk.end), size=min(size, chunk.size))


def count_quotes(file: str, within: tuple[int, int]) -> int:
    """Count the quotes within a range of bytes."""
    start, end = within
    count = 0
    for at in range(start, end, _COUNTED_BYTES):  # in small pieces, and by numpy: four times as fast as bytes.count
        piece = np.frombuffer(read_range(file, at, min(at + _COUNTED_BYTES, end)), dtype=np.uint8)
        count += int(np.count_nonzero(piece == ord('"')))
    return count


def blocks(chunk: Chunk, advance: Advance) -> Iterator[CsvBlock]:
    """Give the records of a CSV or gzip chunk, about `CHUNK_BYTES` at a time.

    Raises:
        InputError: a record is too long.
        OSError, EOFError, zlib.error: the file cannot be read or is damaged.
    """
    if chunk.kind == "gzip":
        yield from _gzip_blocks(chunk, advance)
    else:
        yield _csv_block(chunk)
        advance(chunk.size)


def parquet_names(file: str) -> list[str]:
    """Names of the columns of a Parquet file."""
    with _parquet(file) as parquet:
        return list(parquet.schema_arrow.names)


@contextmanager
def _parquet(file: str) -> Iterator[pq.ParquetFile]:
    with opened(file) as stream:
        try:
            parquet = pq.ParquetFile(stream)
        except UnicodeDecodeError as error:
            problem = f"the name {error.object!r} of a column is no UTF-8 text"
            raise InputError(file, problem, "write the names of columns in UTF-8") from None
        yield parquet


def row_groups(chunk: Chunk, columns: list[str]) -> pa.Table:
    """Read the columns of a Parquet chunk; times of any zone in UTC, since polars knows no `+05:30`.

    Raises:
        InputError: a text is not UTF-8, which not all writers check, or a column is of a type that polars lacks.
    """
    with _parquet(chunk.file) as parquet:
        table = parquet.read_row_groups(list(range(chunk.start, chunk.end)), columns=columns)
    for place, field in enumerate(table.schema):
        if pa.types.is_decimal256(field.type):
            raise InputError(chunk.file, f"column {field.name} is {field.type}", "write it as text or number")
        _require_utf8(chunk, field.name, table[place])
        if pa.types.is_timestamp(field.type) and field.type.tz is not None:
            table = table.set_column(place, field.name, table[place].cast(pa.timestamp(field.type.unit, "UTC")))
    return table


def _require_utf8(chunk: Chunk, name: str, values: pa.ChunkedArray) -> None:
    """Refuse texts of a Parquet column that are not UTF-8. Without a fault this takes 10 ns a text."""
    if _is_utf8(values):
        return
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    row = bisect_left(range(len(values)), True, key=lambda row: not _is_utf8(values.slice(0, row + 1)))
    where = f"{chunk.file} row {chunk.first_row + row + 1}"
    raise InputError(where, f"{name} is no UTF-8 text ({_bytes(values, row)})", "write the column as UTF-8 text")


def _is_utf8(values: pa.ChunkedArray) -> bool:
    try:
        values.validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def _bytes(values: pa.ChunkedArray, row: int) -> str:
    try:
        return abridged(repr(values.slice(row, 1).cast(pa.large_binary())[0].as_py()))
    except pa.ArrowException:
        return str(values.type)


def record_end(data: bytes | bytearray, start: int, quoted: bool) -> int:
    """Position after the first record that ends at or after byte `start`; -1 if none ends in `data`."""
    at = start
    while (end := data.find(b"\n", at)) >= 0:
        quoted ^= bool(data.count(b'"', at, end) % 2)
        if not quoted:
            return end + 1
        at = end + 1
    return -1


def _whole(file: str) -> Chunk:
    """A CSV or gzip file as one chunk."""
    with opened(file) as stream:
        zipped = stream.read(len(GZIP_MAGIC)) == GZIP_MAGIC
    header, start = _header(file)
    end = file_size(file)
    kind: Literal["csv", "gzip"] = "gzip" if zipped else "csv"
    return Chunk(file=file, kind=kind, start=start, end=end, size=end if zipped else end - start, header=header)


def _header(file: str) -> tuple[bytes, int]:
    """The first record that is not blank, without a byte order mark, and where the next begins."""
    data = bytearray()
    with unzipped(file) as stream:
        while True:
            more = stream.read(_TAIL_BYTES)
            data += more
            refuse_other_kinds(file, bytes(data[:KIND_BYTES]))
            refuse_wide(file, bytes(data[:_TAIL_BYTES]))
            text = data.removeprefix(BYTE_ORDER_MARK)
            start = len(data) - len(text.lstrip(b"\r\n"))
            end = record_end(data, start, quoted=False)
            refuse_lone_returns(file, data[start : end if end >= 0 else len(data)])
            if end >= 0 and start < len(data):
                return bytes(data[start:end]), end
            if not more:
                break
            if len(data) > LONGEST_RECORD:
                raise _too_long(file, 0)
    if start == len(data):
        raise InputError(file, "the file is empty, expected a header and rows", "give a log with rows")
    if data.count(b'"', start) % 2:
        raise InputError(file, "a quote in the names of columns is opened and not closed", "close or remove it")
    return bytes(data[start:]), len(data)


def _csv_block(chunk: Chunk) -> CsvBlock:
    """The records that begin in the chunk. The byte before it tells whether one begins with it."""
    if chunk.start == chunk.end:
        return CsvBlock(chunk.start, memoryview(b""))
    before = chunk.start - 1
    data = read_range(chunk.file, before, chunk.end + _TAIL_BYTES)
    end = chunk.end - before
    first = _after(data, 1, chunk.quoted)
    if not 0 < first < end:
        return CsvBlock(chunk.end, memoryview(b""))  # one record of an earlier chunk covers this one
    last_quoted = chunk.quoted ^ bool(data.count(b'"', 1, end) % 2)
    last = _after(data, end, last_quoted)
    while last < 0 and (more := read_range(chunk.file, before + len(data), before + len(data) + CHUNK_BYTES)):
        data += more
        if len(data) - end > LONGEST_RECORD:
            raise _too_long(chunk.file, chunk.start)
        last = _after(data, end, last_quoted)
    return CsvBlock(before + first, memoryview(data)[first : last if last >= 0 else len(data)])


def _after(data: bytes, at: int, quoted: bool) -> int:
    """Where the first record at or after `at` begins; -1 for none. `quoted` is the parity of quotes before `at`."""
    if not quoted and data[at - 1 : at] == b"\n":
        return at
    return record_end(data, at, quoted)


def _gzip_blocks(chunk: Chunk, advance: Advance) -> Iterator[CsvBlock]:
    told = 0
    with opened(chunk.file) as raw, gzip.open(raw, "rb") as stream:
        start = chunk.start
        stream.read(start)  # the header
        rest = b""
        left = chunk.most
        while data := stream.read(min(CHUNK_BYTES, left) if chunk.most else CHUNK_BYTES):
            left -= len(data)
            at = raw.tell()
            advance(at - told)
            told = at
            data = rest + data
            end = _last_record_end(data)
            if end:
                yield CsvBlock(start, memoryview(data)[:end])
            elif len(data) > LONGEST_RECORD:
                raise _too_long(chunk.file, start)
            rest = data[end:]
            start += end
            if chunk.most and not left:
                rest = b""  # whole records only
        advance(chunk.size - told)
        yield CsvBlock(start, memoryview(rest))


def _last_record_end(data: bytes) -> int:
    """Position after the last record that ends in `data`, which begins with a record; 0 if none ends."""
    quoted = bool(data.count(b'"') % 2)
    at = len(data)
    while (end := data.rfind(b"\n", 0, at)) >= 0:
        quoted ^= bool(data.count(b'"', end, at) % 2)
        if not quoted:
            return end + 1
        at = end
    return 0


def _too_long(file: str, start: int) -> InputError:
    line = lines_before(file, start) + 1
    return InputError(
        f"{file}:{line}",
        f"a record at or after this line is longer than {LONGEST_RECORD >> 20} MiB",
        "close the quote that was left open",
    )


def _row_groups(file: str, size: int) -> tuple[Chunk, ...]:
    with _parquet(file) as parquet:
        metadata = parquet.metadata
    chunks: list[Chunk] = []
    start = first_row = rows = held = 0
    for group in range(metadata.num_row_groups):
        held += metadata.row_group(group).total_byte_size
        rows += metadata.row_group(group).num_rows
        if held >= size or group + 1 == metadata.num_row_groups:
            chunks.append(Chunk(file=file, kind="parquet", start=start, end=group + 1, size=held, first_row=first_row))
            start, first_row, rows, held = group + 1, first_row + rows, 0, 0
    return tuple(chunks) or (Chunk(file=file, kind="parquet", start=0, end=0, size=0),)
