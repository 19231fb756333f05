"""A raw log as parts that can be read anywhere, and reading them here.

A source opens a folder and names its parts; nothing is read but headers (and, by sources that cannot be cut, all).
`read_parts` reads the parts of one table on this machine; a cluster calls `read_part` for each where it likes.

Dimensions: P parts.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import polars as pl

from gensr_dist.data.events import Repair
from gensr_dist.data.sources.chunks import Advance, Chunk, Each, shortened, spread
from gensr_dist.data.sources.raw_files import CHUNK_BYTES, file_size
from gensr_dist.data.sources.reading import Rows, cut_file
from gensr_dist.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Part:
    """Some rows of a table. Picklable."""

    file: str  # path or URL, for messages
    size: int  # bytes of it, for progress
    load: Callable[[Advance], Rows]
    none_kept: str = ""  # what is wrong where all parts of the file together have rows, but keep none
    sampled: bool = False  # whether the file has rows that no part gives
    prefix: Callable[[int], Rows] | None = None  # reads the records that begin within so many bytes; not of Parquet


@dataclass(frozen=True, kw_only=True)
class Sample:
    """How much of each file is read, and in which pieces."""

    most: int | None = None  # bytes; of a file that has more, pieces are read that lie evenly over it; None: all
    piece: int = CHUNK_BYTES  # bytes that a part has, about

    def share(self, file: str) -> float:
        """About which part of a file is read; 1 for all."""
        return 1.0 if self.most is None else min(1.0, self.most / max(1, file_size(file)))

    def bytes_of(self, file: str) -> int:
        """Bytes that are read, after decompression, of a file that is read from its beginning; 0 for all."""
        return self.most if self.most is not None and self.share(file) < 1 else 0


@dataclass(frozen=True, kw_only=True)
class UntilFault:
    """What a table gives up to its first fault. Without a fault this is the table."""

    rows: Rows  # repairs of all parts summed; without columns where no part could be read
    fault: InputError | None
    read_of: Mapping[str, int]  # rows that were read of each file


WHOLE = Sample()
_SHORTEST, _LONGEST = 1 << 8, 1 << 40  # bytes of a prefix


@dataclass(frozen=True, kw_only=True)
class SourceParts:
    """A raw log. What the parts of a table give, in this order, is the table.

    interactions: user_id, item_id, behaviour (UInt8), time (Int64 ms), query (String, null for none), positive.
    items: item_id, text. users: user_id. Ids are Int64 or String, of one kind in all tables.
    unlisted: those ids of `items` that no file lists, added by a source that joins its files itself.
    """

    interactions: tuple[Part, ...]
    items: tuple[Part, ...]
    users: tuple[Part, ...]
    unlisted: frozenset[str] = frozenset()


def cut_table(
    file: str, load: Callable[[Chunk, Advance], Rows], each: Each, none_kept: str = "", sample: Sample = WHOLE
) -> tuple[Part, ...]:
    """Parts of one file.

    Args:
        file: path or URL.
        load: reads a chunk; a function of a module, so that a part can travel.
        each: as for `chunks.cut`.
        none_kept: as `Part.none_kept`.
        sample: how much of it is read.

    Raises:
        InputError: the file is missing, unreadable or empty.
    """
    chunks = cut_file(file, sample.piece, each)
    share = sample.share(file)
    if share < 1:
        chunks = spread(chunks, share)
    return tuple(
        Part(
            file=file,
            size=chunk.size,
            load=partial(load, chunk),
            none_kept=none_kept,
            sampled=share < 1,
            prefix=None if chunk.kind == "parquet" else partial(_load_prefix, load, chunk),
        )
        for chunk in chunks
    )


def read_part(part: Part, advance: Advance = int) -> Rows:
    """Read one part; a function of the files alone.

    Args:
        part: of a SourceParts.
        advance: told how many bytes were read.

    Raises:
        InputError: what is wrong with the rows.
    """
    return part.load(advance)


def read_parts(parts: Sequence[Part], advance: Advance = int) -> Rows:
    """Read a whole table, one part after another. A table of no parts has no columns.

    Raises:
        InputError: a row is wrong, or there is none.
    """
    return join_rows(parts, [read_part(part, advance) for part in parts])


def read_until_fault(parts: Sequence[Part], advance: Advance = int) -> UntilFault:
    """Read a table as `read_parts`, but keep what comes before a fault; each file is read up to its own first one."""
    fault: InputError | None = None
    faulty: set[str] = set()
    rows: list[Rows] = []
    read_of = dict.fromkeys((part.file for part in parts), 0)
    for part in parts:
        if part.file in faulty:
            continue
        try:
            given = [read_part(part, advance)]
        except InputError as error:
            fault = fault or error
            faulty.add(part.file)
            given = _before_fault(part)
        rows += given
        read_of[part.file] += sum(one.read for one in given)
    if fault is None:
        try:
            return UntilFault(rows=join_rows(parts, rows), fault=None, read_of=read_of)
        except InputError as error:
            fault = error
    frame = pl.concat([part.frame for part in rows]) if rows else pl.DataFrame()
    repairs = add_repairs(repair for part in rows for repair in part.repairs)
    return UntilFault(rows=Rows(frame, repairs, sum(part.read for part in rows)), fault=fault, read_of=read_of)


def _before_fault(part: Part) -> list[Rows]:
    """The records of a part that come before the first wrong one, by doubling, then halving; of Parquet none."""
    good: list[Rows] = []
    low, high = 0, _SHORTEST
    while part.prefix is not None and high < _LONGEST:
        try:
            good = [part.prefix(high)]
        except InputError:
            break
        low, high = high, 2 * high
    while part.prefix is not None and high - low > 1:
        middle = (low + high) // 2
        try:
            good, low = [part.prefix(middle)], middle
        except InputError:
            high = middle
    return good


def _load_prefix(load: Callable[[Chunk, Advance], Rows], chunk: Chunk, size: int) -> Rows:
    return load(shortened(chunk, size), int)


def join_rows(parts: Sequence[Part], rows: Sequence[Rows]) -> Rows:
    """The table of what all its parts gave.

    Raises:
        InputError: there is no row.
    """
    require_rows(parts, [part.read for part in rows], [part.frame.height for part in rows])
    frame = pl.concat([part.frame for part in rows]) if rows else pl.DataFrame()
    repairs = add_repairs(repair for part in rows for repair in part.repairs)
    return Rows(frame, repairs, sum(part.read for part in rows))


def require_rows(parts: Sequence[Part], read_P: Sequence[int], kept_P: Sequence[int]) -> None:
    """Refuse files without rows.

    Args:
        parts: of a table.
        read_P: rows that each part had.
        kept_P: rows that each part gave.

    Raises:
        InputError: all parts of a file together have no row, or give none.
    """
    for file in dict.fromkeys(part.file for part in parts):
        mine = [number for number, part in enumerate(parts) if part.file == file]
        if not sum(read_P[number] for number in mine):
            problem = "the file has no rows, expected at least one below the header"
            raise InputError(file, problem, "give a log with rows")
        if not sum(kept_P[number] for number in mine):
            raise InputError(file, parts[mine[0]].none_kept, "check the file")


def add_repairs(repairs: Iterable[Repair]) -> tuple[Repair, ...]:
    """Sum what was counted in several parts, in the order of first appearance; zeros are left out."""
    sums: dict[str, Repair] = {}
    for repair in repairs:
        before = sums.get(repair.what, replace(repair, count=0))
        sums[repair.what] = replace(before, count=before.count + repair.count)
    return tuple(repair for repair in sums.values() if repair.count)
