"""Where a file that does not parse is wrong, said in one line. Slow, and only called when something is wrong.

Of several faults the one in the first record counts, whichever kind it is, so the error does not depend on where the
file was cut.
"""

import csv
import io
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress

import numpy as np
import polars as pl

from gensr_dist.data.sources.chunks import Chunk
from gensr_dist.data.sources.columns import BAD, Column, csv_names, csv_texts, parse
from gensr_dist.data.sources.raw_files import abridged, lines_before, shown
from gensr_dist.data.sources.records import find_records, has_misplaced_quotes
from gensr_dist.data.sources.swallowed import refuse_swallowed
from gensr_dist.errors import InputError

_REMEDY = "correct or remove rows like this one"


def csv_fault(chunk: Chunk, start: int, data: memoryview, columns: Sequence[Column]) -> InputError:
    """Find the first wrong record.

    Args:
        chunk: where the records are from.
        start: their first byte in the file, after decompression.
        data: the records, of which one cannot be read.
        columns: what was wanted.

    Raises:
        InputError: rows before it were swallowed by a field.
    """
    width = len(csv_names(chunk.header))
    layout = find_records(data, width)
    begin_R = layout.begin_R
    unreadable = _first_unreadable(chunk.header, data, begin_R[: layout.first_wrong + 1], columns)
    texts = csv_texts(chunk.header, data[: begin_R[unreadable]], columns)
    bad = parse(texts, columns, ())[BAD]
    record = bad.arg_max() if bad.any() else unreadable
    assert record is not None
    refuse_swallowed(chunk, start, data[: begin_R[record]], columns)
    if record + 1 == len(begin_R):
        problem = f"it cannot be read as CSV with {width} columns"
        return InputError(chunk.file, problem, "check its quotes and line ends")
    place = f"{chunk.file}:{lines_before(chunk.file, start + int(begin_R[record])) + 1}"
    if bad.any():
        return _value_fault(place, texts.slice(record, 1).collect(), columns)
    return _record_fault(place, width, bytes(data[begin_R[record] : begin_R[record + 1]]))


def parquet_fault(chunk: Chunk, texts: pl.LazyFrame, bad: pl.Series, columns: Sequence[Column]) -> InputError:
    """Name the first bad row of a Parquet file."""
    row = bad.arg_max()
    assert row is not None
    place = f"{chunk.file} row {chunk.first_row + row + 1}"
    return _value_fault(place, texts.slice(row, 1).collect(), columns)


def split_records(text: str) -> Iterator[list[str]]:
    """Fields of CSV records, however long; the rest is left out where Python's reader finds no record."""
    csv.field_size_limit(sys.maxsize)
    with suppress(csv.Error):
        yield from csv.reader(io.StringIO(text, newline=""))


def _first_unreadable(header: bytes, data: memoryview, begin_R: np.ndarray, columns: Sequence[Column]) -> int:
    """The first record that polars cannot split into fields, by halving; R if it can split all."""

    def refuses(first: int, last: int) -> bool:
        try:
            csv_texts(header, data[begin_R[first] : begin_R[last]], columns).collect(engine="streaming")
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException):
            return True
        return False

    low, high = 0, len(begin_R) - 1
    if not refuses(low, high):
        return high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if refuses(low, middle) else (middle, high)
    return low


def _value_fault(place: str, fields: pl.DataFrame, columns: Sequence[Column]) -> InputError:
    texts = {column: pl.col(column.name) for column in columns if column.name in fields.columns}
    column = next(c for c, text in texts.items() if fields.select(c.is_bad(c.parse(text), text.is_null())).item())
    text = fields[column.name].item()
    why = "" if text is None else column.explain(text)
    found = "is empty" if text is None else f"is {abridged(text)!r}{why}"
    remedy = column.remedy if why and column.remedy else _REMEDY
    return InputError(place, f"{column.name} {found}, expected {column.expected}", remedy)


def _record_fault(place: str, width: int, record: bytes) -> InputError:
    try:
        text = record.decode("utf-8")
    except UnicodeDecodeError:
        return InputError(place, "the line is not UTF-8 text", "save the file as UTF-8")
    if record.count(b'"') % 2:
        return InputError(place, "a quote is opened and not closed", "write a quote within a field twice")
    problem = f"expected a CSV record, found {shown(text)!r}"
    if has_misplaced_quotes(record):
        remedy = "check its quotes: text before an opening or after a closing quote; write a quote within a field twice"
        return InputError(place, problem, remedy)
    fields = len(next(split_records(text), []))
    if fields != width:
        remedy = "quote fields that hold commas" if fields > width else "complete or remove this row"
        found = repr(abridged(text.rstrip("\r\n")))
        return InputError(place, f"{fields} fields, expected {width} as in the header, found {found}", remedy)
    return InputError(place, problem, "check its quotes and line ends")
