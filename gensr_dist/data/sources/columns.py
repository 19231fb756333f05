"""Columns that sources need, and how the text of a field becomes a value."""

import io
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import polars as pl

DAY_MS = 86_400_000
BAD, BLANK = "__bad", "__blank"  # columns of `parse`: the row does not parse; the row has no field at all
_EMPTY = "__empty_"  # prefix: the field has no text


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column that a source needs.

    Args:
        name: as in the header.
        expected: completes "expected ..." in errors.
        parse: from the field's text to its value; null where the text is not acceptable.
        required: whether an absent column is an error; else it reads as all null.
        empty: whether an empty field is allowed; it reads as null.
    """

    name: str
    expected: str
    parse: Callable[[pl.Expr], pl.Expr]
    required: bool = True
    empty: bool = False


def latest_time() -> int:
    """Milliseconds since 1970 that no event can be later than: one day from now, for clocks and time zones."""
    return int(time.time() * 1000) + DAY_MS


def parse_integer(text: pl.Expr) -> pl.Expr:
    """Integer of 0 or more; `12.0`, as pandas writes a column that had gaps, counts as 12."""
    value = text.str.strip_suffix(".0").cast(pl.Int64, strict=False)
    return pl.when(value >= 0).then(value)


def parse_milliseconds(text: pl.Expr) -> pl.Expr:
    """Milliseconds since 1970, written as an integer or a float; null if negative or later than tomorrow."""
    value = text.cast(pl.Float64, strict=False)
    return pl.when(value.is_between(0, latest_time())).then(value).round().cast(pl.Int64)


def parse_text(text: pl.Expr) -> pl.Expr:
    """Text on one line, without surrounding space."""
    return text.str.replace_all(r"\s+", " ").str.strip_chars()


def csv_names(header: bytes) -> list[str]:
    """Names of the columns, from the record that holds them."""
    return pl.scan_csv(io.BytesIO(header), infer_schema=False).collect_schema().names()


def csv_texts(header: bytes, data: memoryview, columns: Sequence[Column]) -> pl.LazyFrame:
    """The wanted columns that a CSV text has, every field as text; empty fields are null."""
    scan = pl.scan_csv(io.BytesIO(b"".join((header, data))), infer_schema=False)
    names = scan.collect_schema().names()
    return scan.select(null_if_empty(pl.col(column.name)) for column in columns if column.name in names)


def null_if_empty(text: pl.Expr) -> pl.Expr:
    """Empty fields have no value."""
    return pl.when(text != "").then(text)


def parse(texts: pl.LazyFrame, columns: Sequence[Column], keep: Sequence[pl.Expr]) -> pl.DataFrame:
    """Parse fields: columns `keep`, BAD and BLANK, one row for each of `texts`.

    Args:
        texts: as `csv_texts` gives them; optional columns may be absent.
        columns: what is in `texts`.
        keep: expressions over the parsed columns.
    """
    names = texts.collect_schema().names()
    present = [column for column in columns if column.name in names]
    parsed = texts.select(  # first, so that no field is parsed twice
        *(_value(column, names) for column in columns),
        *(pl.col(column.name).is_null().alias(_EMPTY + column.name) for column in present),
    )
    blank = pl.all_horizontal(pl.col(_EMPTY + column.name) for column in present)
    bad = pl.any_horizontal(_is_bad(column) for column in present)
    return parsed.select(*keep, (bad & ~blank).alias(BAD), blank.alias(BLANK)).collect(engine="streaming")


def _value(column: Column, names: list[str]) -> pl.Expr:
    text = pl.col(column.name) if column.name in names else pl.lit(None, dtype=pl.String)
    return column.parse(text).alias(column.name)


def _is_bad(column: Column) -> pl.Expr:
    unparsed = pl.col(column.name).is_null()
    return unparsed & ~pl.col(_EMPTY + column.name) if column.empty else unparsed
