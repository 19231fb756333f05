"""Rows that two odd quotes made one field of: the first begins a field of one row, the second ends one of a later row.

Such a text is well-formed CSV. It is refused where the record, without those quotes, is several rows that all parse;
where no column is strict enough to tell, its line breaks are counted.
"""

from collections.abc import Sequence

from gensr_dist.data.sources.chunks import Chunk
from gensr_dist.data.sources.columns import BAD, BLANK, Column, csv_names, csv_texts, parse
from gensr_dist.data.sources.raw_files import lines_before
from gensr_dist.data.sources.records import find_records, find_swallowing
from gensr_dist.errors import InputError


def refuse_swallowed(chunk: Chunk, start: int, data: memoryview, columns: Sequence[Column]) -> None:
    """Refuse a record that is several without two of its quotes.

    Args:
        chunk: where the records are from.
        start: their first byte in the file, after decompression.
        data: records that can be read.
        columns: what is wanted of them.

    Raises:
        InputError: names the first.
    """
    if not any(column.strict for column in columns):
        return
    width = len(csv_names(chunk.header))
    suspects = find_swallowing(data, width)
    if not suspects:
        return
    begin_R = find_records(data, width).begin_R
    for first, last in suspects:
        record = int(begin_R.searchsorted(first, side="right")) - 1
        text = bytes(data[begin_R[record] : begin_R[record + 1]])
        opening, closing = first - begin_R[record], last - begin_R[record]
        bare = text[:opening] + text[opening + 1 : closing] + text[closing + 1 :]
        if rows := _rows(chunk.header, bare, columns, width):
            place = f"{chunk.file}:{lines_before(chunk.file, start + int(begin_R[record])) + 1}"
            problem = f"a quote opens here and closes {rows - 1} rows later"
            raise InputError(place, problem, "write a quote within a field twice, and the field between quotes")


def _rows(header: bytes, text: bytes, columns: Sequence[Column], width: int) -> int:
    """How many rows a text is; 0 if one of them does not parse."""
    layout = find_records(memoryview(text), width)
    if layout.first_wrong < len(layout.begin_R) - 1:
        return 0
    parsed = parse(csv_texts(header, memoryview(text), columns), columns, ())
    return 0 if parsed[BAD].any() or parsed[BLANK].any() else parsed.height
