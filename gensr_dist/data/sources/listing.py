"""The files of a raw log and what a source takes from each, known before they are read."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

from gensr_dist.data.sources import json_lines, reading
from gensr_dist.data.sources.columns import Column
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
    """

    file: str
    table: Table
    uses: tuple[Use, ...]
    look: Callable[[int], Look]
    alone: Callable[[int], Rows] | None = None
    counted: bool = True


def table_file(file: str, table: Table, columns: Sequence[Column]) -> RawFile:
    """A CSV or Parquet file."""
    uses = tuple(Use(column.name, column.role or column.name, column.required) for column in columns)
    return RawFile(file=file, table=table, uses=uses, look=partial(reading.look, file, columns))


def json_file(file: str, table: Table, uses: Sequence[Use], alone: Callable[[int], Rows] | None = None) -> RawFile:
    """A file of one JSON object a line."""
    names = tuple(use.name for use in uses)
    look = partial(json_lines.look, file, names)
    return RawFile(file=file, table=table, uses=tuple(uses), look=look, alone=alone, counted=False)
