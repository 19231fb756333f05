"""The files of a raw log and what a source takes from each, known before they are read."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

from gensr_dist.data.sources import json_lines, reading
from gensr_dist.data.sources.chunks import Advance, Chunk, Each
from gensr_dist.data.sources.columns import Column
from gensr_dist.data.sources.parts import Part, Sample, SourceParts, cut_table
from gensr_dist.data.sources.raw_files import Look
from gensr_dist.data.sources.reading import Rows

Table = Literal["events", "items", "users"]


@dataclass(frozen=True)
class Use:
    """A column or field that a source reads."""

    name: str  # as in the file
    role: str  # what it is taken for
    required: bool = True


@dataclass(frozen=True, kw_only=True)
class RawFile:
    """A file that a source reads.

    Args:
        file: path or URL.
        table: what its rows are.
        uses: columns or fields that the source reads, whether the file has them or not.
        look: reads the beginning, so many rows; raises InputError.
        alone: of a source that needs several files for its parts: reads what this file alone gives, of its first so
            many bytes after decompression, 0 for all; raises InputError.
        counted: whether the rows of the file's parts are the rows of the file.
        load: reads a chunk of a file that can be cut; a function of a module, so that a part can travel.
        none_kept: as `Part.none_kept`.
    """

    file: str
    table: Table
    uses: tuple[Use, ...]
    look: Callable[[int], Look]
    alone: Callable[[int], Rows] | None = None
    counted: bool = True
    load: Callable[[Chunk, Advance], Rows] | None = None
    none_kept: str = ""


def table_file(
    file: str,
    table: Table,
    columns: Sequence[Column],
    load: Callable[[Chunk, Advance], Rows],
    none_kept: str = "",
) -> RawFile:
    """A CSV or Parquet file."""
    uses = tuple(Use(column.name, column.role or column.name, column.required) for column in columns)
    look = partial(reading.look, file, columns)
    return RawFile(file=file, table=table, uses=uses, look=look, load=load, none_kept=none_kept)


def cut_files(files: Iterable[RawFile], each: Each, sample: Sample) -> SourceParts:
    """The parts of a log of `table_file`s.

    Args:
        files: of the log.
        each: as for `chunks.cut`.
        sample: how much of them is read.

    Raises:
        InputError: one is missing, unreadable or empty.
    """
    parts: dict[Table, tuple[Part, ...]] = {"events": (), "items": (), "users": ()}
    for file in files:
        assert file.load is not None
        parts[file.table] += cut_table(file.file, file.load, each, file.none_kept, sample)
    return SourceParts(interactions=parts["events"], items=parts["items"], users=parts["users"])


def json_file(file: str, table: Table, uses: Sequence[Use], alone: Callable[[int], Rows] | None = None) -> RawFile:
    """A file of one JSON object a line."""
    names = tuple(use.name for use in uses)
    look = partial(json_lines.look, file, names)
    return RawFile(file=file, table=table, uses=tuple(uses), look=look, alone=alone, counted=False)
