"""Columns that sources need, and how the text of a field becomes a value."""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import polars as pl

from gensr_dist.data.sources.ids import EXACT
from gensr_dist.data.sources.times import REMEDY, explain_time, plausible

BAD, BLANK = "__bad", "__blank"  # columns of `parse`: the row does not parse; the row has no field at all
FIXED = "__fixed_"  # prefix of columns of `parse`: the field was fixed
_EMPTY = "__empty_"  # prefix: the field has no text


def _nothing(text: str) -> str:
    return ""


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column that a source needs.

    Args:
        name: as in the header.
        expected: completes "expected ..." in errors.
        parse: from the field's text to its value; null where the text is not acceptable.
        required: whether an absent column is an error; else it reads as all null.
        empty: whether an empty field is allowed; it reads as null.
        explain: what an error adds about a text that does not parse.
        remedy: for what `explain` explains, in place of correcting the row.
        exact: whether a float in a file of typed columns must be a whole number that it holds exactly.
        strict: whether hardly any text parses that was not meant to, as for times.
        time: whether a date or time of a file of typed columns is one, in milliseconds.
        role: what it is taken for, where the name does not say.
        absent: what the rows of a file without the column are counted as; only with `fixed`.
        fixed: tells of the field's text whether `parse` fixes it; `fixing` says in which way.
    """

    name: str
    expected: str
    parse: Callable[[pl.Expr], pl.Expr]
    required: bool = True
    empty: bool = False
    explain: Callable[[str], str] = _nothing
    remedy: str = ""
    exact: bool = False
    strict: bool = False
    time: bool = False
    role: str = ""
    fixed: Callable[[pl.Expr], pl.Expr] | None = None
    fixing: str = ""
    absent: str = ""

    def is_bad(self, value: pl.Expr, empty: pl.Expr) -> pl.Expr:
        """Whether a field is wrong, of its value by `parse` and of whether it is empty."""
        return value.is_null() & ~empty if self.empty else value.is_null()


def time_column(name: str, *, role: str, expected: str, parse: Callable[[pl.Expr], pl.Expr]) -> Column:
    """A column of times."""
    return Column(
        name=name,
        role=role,
        expected=expected,
        parse=parse,
        explain=explain_time,
        remedy=REMEDY,
        exact=True,
        strict=True,
        time=True,
    )


def parse_integer(text: pl.Expr) -> pl.Expr:
    """Integer of 0 or more; `12.0`, as pandas writes a column that had gaps, counts as 12 where floats are exact."""
    value = text.str.strip_suffix(".0").cast(pl.Int64, strict=False)
    return pl.when((value >= 0) & ((value <= EXACT) | ~text.str.ends_with(".0"))).then(value)


def parse_milliseconds(text: pl.Expr) -> pl.Expr:
    """Milliseconds since 1970, written as an integer or a float; null if implausible or in scientific notation."""
    value = text.cast(pl.Float64, strict=False)
    scientific = text.str.contains("e", literal=True) | text.str.contains("E", literal=True)
    return plausible(pl.when(~scientific).then(value)).round().cast(pl.Int64)


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
    """Parse fields: columns `keep`, FIXED, BAD and BLANK, one row for each of `texts`.

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
        *(c.fixed(pl.col(c.name)).fill_null(False).alias(FIXED + c.name) for c in present if c.fixed),
    )
    blank = pl.all_horizontal(pl.col(_EMPTY + column.name) for column in present)
    bad = pl.any_horizontal(c.is_bad(pl.col(c.name), pl.col(_EMPTY + c.name)) for c in present)
    fixed = [pl.col(FIXED + column.name) for column in present if column.fixed]
    return parsed.select(*keep, *fixed, (bad & ~blank).alias(BAD), blank.alias(BLANK)).collect(engine="streaming")


def _value(column: Column, names: list[str]) -> pl.Expr:
    text = pl.col(column.name) if column.name in names else pl.lit(None, dtype=pl.String)
    return column.parse(text).alias(column.name)
