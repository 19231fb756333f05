"""Typed columns out of CSV (plain or gzip) and Parquet files that people made, with errors that name the line.

Every field is read as text and parsed by its column's expression in one streaming pass, so one mistyped value in
twenty million rows is an error about that line, not a null or a column that silently became text. A file is read a
chunk at a time (`chunks.py`); rows, repairs and the error do not depend on where it was cut. What is wrong where is
looked up only after something is (`faults.py`).
"""

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import polars as pl
import pyarrow as pa

from gensr_dist.data.events import Repair
from gensr_dist.data.sources.chunks import Advance, Chunk, Each, beginning, blocks, cut, parquet_names, row_groups
from gensr_dist.data.sources.columns import BAD, BLANK, FIXED, Column, csv_names, csv_texts, null_if_empty, parse
from gensr_dist.data.sources.faults import csv_fault, parquet_fault, split_records
from gensr_dist.data.sources.ids import revealed, without_unseen
from gensr_dist.data.sources.raw_files import CHUNK_BYTES, Look, abridged, base_name, readable, require_file, shown
from gensr_dist.data.sources.records import RecordCounts, count_records, has_misplaced_quotes
from gensr_dist.data.sources.swallowed import refuse_swallowed
from gensr_dist.errors import InputError

_LOOK_BYTES = 64 << 10
_AS_TEXT = (pl.String, pl.Categorical, pl.Enum, pl.Boolean, pl.Null)  # beside numbers and times
_EXACT_BITS = {"Float16": 11, "Float32": 24, "Float64": 53}  # of whole numbers; older polars has no Float16


@dataclass(frozen=True)
class Rows:
    """What a file or a part of it gave."""

    frame: pl.DataFrame
    repairs: tuple[Repair, ...] = ()
    read: int = 0  # rows that were not blank, kept or not


def cut_file(file: str | Path, size: int = CHUNK_BYTES, each: Each = map) -> tuple[Chunk, ...]:
    """Cut a file into chunks of about `size` bytes for `read_chunk`; see `chunks.cut`.

    Raises:
        InputError: the file is missing, unreadable or empty.
    """
    with readable(str(file)):
        require_file(str(file))
        return cut(file, size, each)


def look(file: str, columns: Sequence[Column], count: int) -> Look:
    """The names of a file's columns, and the texts of the wanted ones in its first rows, well written or not.

    Args:
        file: path or URL.
        columns: what a source wants.
        count: rows at most.

    Raises:
        InputError: the file is missing, unreadable or empty.
    """
    with readable(file):
        require_file(file)
        chunk = beginning(file, _LOOK_BYTES)
        names = parquet_names(file) if chunk.kind == "parquet" else _csv_names(chunk)
        wanted = [column.name for column in columns if column.name in names]
        rows = list(
            islice(_parquet_start(chunk, wanted) if chunk.kind == "parquet" else _csv_start(chunk, names), count)
        )
    return Look.of(names, wanted, rows)


def _csv_start(chunk: Chunk, names: Sequence[str]) -> Iterator[dict[str, str]]:
    """Texts of the fields of each record, of those that are there."""
    text = b"".join(bytes(block.data) for block in blocks(chunk, int)).decode("utf-8", "replace")
    return (dict(zip(names, row, strict=False)) for row in split_records(text) if any(row))


def _parquet_start(chunk: Chunk, names: list[str]) -> Iterator[dict[str, str]]:
    arrow = row_groups(chunk, names)
    for place, field in enumerate(arrow.schema):
        if pa.types.is_timestamp(field.type):  # which Python and polars may be unable to write
            arrow = arrow.set_column(place, field.name, arrow[place].cast(pa.string()))
    table = pl.from_arrow(arrow)
    assert isinstance(table, pl.DataFrame)
    return ({name: str(value) for name, value in row.items()} for row in table.iter_rows(named=True))


def read_chunk(
    chunk: Chunk, columns: Sequence[Column], keep: Sequence[pl.Expr] | None = None, advance: Advance = int
) -> Rows:
    """Read the columns of one chunk, in the order of its rows.

    Blank rows are dropped and counted. A byte order mark and any mixture of LF and CRLF are accepted.

    Args:
        chunk: of `cut_file`.
        columns: what to read and how.
        keep: expressions over the parsed columns that make the result, within the same pass; all columns by default.
        advance: told how many bytes of the file were read.

    Raises:
        InputError: the file is unreadable or cut short, lacks a column, or has a field that does not parse; the last
            names file and line.
    """
    kept = keep or [pl.col(column.name) for column in columns]
    counted = RecordCounts(0, 0, 0)
    with readable(chunk.file):
        if chunk.kind == "parquet":
            frame = _parquet_frame(chunk, columns, kept)
            advance(chunk.size)
        else:
            _require_columns(chunk.file, columns, _csv_names(chunk))
            found = [_csv_frame(chunk, block.start, block.data, columns, kept) for block in blocks(chunk, advance)]
            frame = pl.concat(part for part, _ in found)
            counted = RecordCounts(*(sum(column) for column in zip(*(counts for _, counts in found), strict=True)))
    blanks = int(frame[BLANK].sum())
    if blanks:
        frame = frame.filter(~pl.col(BLANK))
    name = base_name(chunk.file)
    fixed = [column for column in columns if FIXED + column.name in frame.columns]
    absent = [column for column in columns if column.absent and FIXED + column.name not in frame.columns]
    repairs = (
        Repair(f"blank rows of {name} dropped", blanks),
        Repair(f"line breaks within quoted fields of {name} read as blanks", counted.breaks),
        Repair(f"last line of {name} kept, which has no line end (it may be cut)", counted.unended),
        *(Repair(f"{c.name} of {name} {c.fixing}", int(frame[FIXED + c.name].sum())) for c in fixed),
        *(Repair(f"rows of {name}, which has no column {c.name}, {c.absent}", frame.height) for c in absent),
    )
    frame = frame.drop(BLANK, *(FIXED + column.name for column in fixed))
    return Rows(frame, repairs, frame.height)


def _csv_frame(
    chunk: Chunk, start: int, data: memoryview, columns: Sequence[Column], keep: Sequence[pl.Expr]
) -> tuple[pl.DataFrame, RecordCounts]:
    width = len(csv_names(chunk.header))
    counts = count_records(data, width)
    if counts is None:
        raise csv_fault(chunk, start, data, columns)
    try:
        frame = parse(csv_texts(chunk.header, data, columns), columns, keep)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException):
        raise csv_fault(chunk, start, data, columns) from None
    if frame[BAD].any() or frame.height != counts.records:
        raise csv_fault(chunk, start, data, columns)
    if counts.breaks:
        refuse_swallowed(chunk, start, data, columns)
    return frame.drop(BAD), counts


def _csv_names(chunk: Chunk) -> list[str]:
    try:
        names = next(csv.reader(io.StringIO(chunk.header.decode("utf-8"), newline="")), [])
        csv_names(chunk.header)
    except (UnicodeDecodeError, csv.Error, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        problem = f"expected names of columns in the first line ({shown(str(error))})"
        raise InputError(chunk.file, problem, "check its quotes, and save the file as UTF-8") from None
    if has_misplaced_quotes(chunk.header):
        problem = f"a quote within the names of columns, {shown(chunk.header.decode().splitlines()[0])!r}"
        raise InputError(chunk.file, problem, "put quotes around whole names, and write one within a name twice")
    swallowing = [name for name in names if "," in name and ("\n" in name or "\r" in name)]
    if swallowing:
        problem = f"the name {shown(swallowing[0])!r} of a column goes over several lines and holds commas"
        raise InputError(chunk.file, problem, "close or remove its quote in the first line")
    return names


def _parquet_frame(chunk: Chunk, columns: Sequence[Column], keep: Sequence[pl.Expr]) -> pl.DataFrame:
    names = parquet_names(chunk.file)
    _require_columns(chunk.file, columns, names)
    table = pl.from_arrow(row_groups(chunk, [column.name for column in columns if column.name in names]))
    assert isinstance(table, pl.DataFrame)
    for column in columns:
        if column.exact and column.name in names:
            _require_exact(chunk, column, table[column.name])
    texts = table.lazy().select(
        null_if_empty(_parquet_text(chunk.file, column, table.schema[column.name]))
        for column in columns
        if column.name in names
    )
    frame = parse(texts, columns, keep)
    if frame[BAD].any():
        raise parquet_fault(chunk, texts, frame[BAD], columns)
    return frame.drop(BAD)


def _parquet_text(file: str, column: Column, dtype: pl.DataType) -> pl.Expr:
    field = pl.col(column.name)
    if column.time and isinstance(dtype, (pl.Datetime, pl.Date)):
        return field.cast(pl.Datetime("ms")).dt.epoch("ms").cast(pl.String)
    if column.exact and isinstance(dtype, pl.Decimal):
        return field.cast(pl.String).str.replace(r"\.0+$", "")  # the scale is the column's, not the value's
    if dtype.is_numeric() or (isinstance(dtype, _AS_TEXT) and not (column.exact and dtype == pl.Boolean)):
        return field.cast(pl.String)
    remedy = "write it as text" if isinstance(dtype, (pl.Datetime, pl.Date)) else "write it as text or number"
    raise InputError(file, f"column {column.name} is {dtype}, expected {column.expected}", remedy)


def _require_exact(chunk: Chunk, column: Column, values: pl.Series) -> None:
    """Refuse floats that may have been other whole numbers, and decimals that are none."""
    if isinstance(values.dtype, pl.Decimal):
        kind = "Decimal that is not whole"
        wrong = values.cast(pl.String).str.contains(r"\..*[1-9]").fill_null(False)
    elif str(values.dtype) in _EXACT_BITS:
        kind = f"{values.dtype} that is not exact"
        limit = 1 << _EXACT_BITS[str(values.dtype)]
        wrong = (values.is_finite() & ((values.abs() > limit) | (values != values.round()))).fill_null(False)
    else:
        return
    row = wrong.arg_max()
    if row is not None and wrong[row]:
        place = f"{chunk.file} row {chunk.first_row + row + 1}"
        problem = f"{column.name} is {values[row]}, a {kind}, expected {column.expected}"
        raise InputError(place, problem, "write the column as whole numbers or text")


def _require_columns(file: str, columns: Sequence[Column], names: Sequence[str]) -> None:
    for name in (column.name for column in columns):
        if names.count(name) > 1:
            problem = f"column {name} is there {names.count(name)} times"
            raise InputError(file, problem, "leave one of them, or rename the others")
        padded = [other for other in names if other != name and without_unseen(other) == name]
        if padded:
            hidden = padded[0].strip() != name
            what = "characters that cannot be seen" if hidden else "blanks around it"
            problem = f"the name {revealed(padded[0])} of a column has {what}, expected {name!r}"
            remedy = (
                "remove them from the names of columns" if hidden else "remove the blanks from the names of columns"
            )
            raise InputError(file, problem, remedy)
        alike = [other for other in names if name not in names and without_unseen(other).lower() == name]
        if alike:
            problem = f"the name {revealed(alike[0])} of a column is written otherwise than {name!r}"
            raise InputError(file, problem, f"name the column {name}, or otherwise still if it is no {name}")
    missing = [column.name for column in columns if column.required and column.name not in names]
    if missing:
        found, remedy = shown(", ".join(names)), "name the columns in the first line, separated by commas"
        if file.endswith(".parquet"):
            found, remedy = found or "none", "rename or add the columns"
        elif len(names) == 1:  # shown with the tabs or other signs that separate what should be several
            found, remedy = f"one column, {abridged(names[0])!r}", f"{remedy}, as the fields of all rows"
        raise InputError(file, f"missing column {', '.join(missing)}, found {found}", remedy)
