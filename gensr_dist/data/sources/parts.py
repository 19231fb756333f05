"""A raw log as parts that can be read anywhere, and reading them here.

A source opens a folder and names its parts; nothing is read but headers (and, by sources that cannot be cut, all).
`read_parts` reads the parts of one table on this machine; a cluster calls `read_part` for each where it likes.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import polars as pl

from gensr_dist.data.events import Repair
from gensr_dist.data.sources.chunks import Advance, Chunk, Each
from gensr_dist.data.sources.reading import Rows, cut_file
from gensr_dist.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Part:
    """Some rows of a table. Picklable."""

    file: str  # path or URL, for messages
    size: int  # bytes of it, for progress
    load: Callable[[Advance], Rows]
    none_kept: str = ""  # what is wrong where all parts of the file together have rows, but keep none


@dataclass(frozen=True, kw_only=True)
class SourceParts:
    """A raw log. What the parts of a table give, in this order, is the table.

    interactions: user_id, item_id, behaviour (UInt8), time (Int64 ms), query (String, null for none), positive.
    items: item_id, text. users: user_id. Ids are Int64 or String, of one kind in all tables.
    """

    interactions: tuple[Part, ...]
    items: tuple[Part, ...]
    users: tuple[Part, ...]


def cut_table(file: str, load: Callable[[Chunk, Advance], Rows], each: Each, none_kept: str = "") -> tuple[Part, ...]:
    """Parts of one file.

    Args:
        file: path or URL.
        load: reads a chunk; a function of a module, so that a part can travel.
        each: as for `chunks.cut`.
        none_kept: as `Part.none_kept`.

    Raises:
        InputError: the file is missing, unreadable or empty.
    """
    return tuple(
        Part(file=file, size=chunk.size, load=partial(load, chunk), none_kept=none_kept)
        for chunk in cut_file(file, each=each)
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
    """Read a whole table, a part after the other. A table of no parts has no columns.

    Raises:
        InputError: a row is wrong, or there is none.
    """
    return join_rows(parts, [read_part(part, advance) for part in parts])


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
