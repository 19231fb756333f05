"""Typed columns out of CSV (plain or gzip) and Parquet files that people made, with errors that name the line.

Every field is read as text and parsed by its column's expression in one streaming pass, so one mistyped value in
twenty million rows is an error about that line, not a null or a column that silently became text. Only when a row is
bad is the file read again, up to that row, to find its line (quoted line breaks included).
"""

import csv
import gzip
import itertools
import sys
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NoReturn

import polars as pl

from gensr_dist.data.events import Repair
from gensr_dist.errors import InputError

DAY_MS = 86_400_000
GZIP_MAGIC = b"\x1f\x8b"
BAD = "__bad"  # internal column: the row does not parse
LONGEST_SHOWN = 60  # characters of a wrong value that an error repeats


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


@dataclass(frozen=True)
class Rows:
    """What a file gave."""

    frame: pl.DataFrame
    repairs: tuple[Repair, ...]


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


def read_rows(path: Path, columns: Sequence[Column], keep: Sequence[pl.Expr] | None = None) -> Rows:
    """Read the columns of one `.csv`, `.csv.gz` or `.parquet` file, in the order of its rows.

    Blank rows are dropped and counted. A byte order mark and any mixture of LF and CRLF are accepted.

    Args:
        path: the file; the suffix `.parquet` decides the format.
        columns: what to read and how.
        keep: expressions over the parsed columns that make the result, within the same pass; all columns by default.

    Raises:
        InputError: the file is missing, unreadable, cut short or has no rows, lacks a column, or has a field that
            does not parse; the last names file and line.
    """
    with _readable(path):
        texts = _as_text(path, columns)
        names = texts.collect_schema().names()
        blank = pl.all_horizontal(pl.col(name).is_null() for name in names)
        parsed = texts.with_columns(blank.alias("__blank")).select(
            *(_value(column, names) for column in columns),
            (pl.any_horizontal(_is_bad(c) for c in columns if c.name in names) & ~pl.col("__blank")).alias(BAD),
            "__blank",
        )
        kept = parsed.select(*(keep or [pl.col(c.name) for c in columns]), BAD, "__blank")
        frame = kept.collect(engine="streaming")
        if frame[BAD].any():
            row = frame[BAD].arg_max()
            assert row is not None
            _raise_bad_row(path, columns, texts, row)
    blanks = int(frame["__blank"].sum())
    if blanks:
        frame = frame.filter(~pl.col("__blank"))
    if not frame.height:
        raise InputError(path, "the file has no rows, expected at least one below the header", "give a log with rows")
    repairs = (Repair(f"blank rows of {path.name} dropped", blanks),) if blanks else ()
    return Rows(frame.drop(BAD, "__blank"), repairs)


def require_files(raw: Path, names: Sequence[str], remedy: str) -> list[Path]:
    """Paths of the files in folder `raw`; an InputError that lists all that are missing."""
    paths = [raw / name for name in names]
    missing = [path.name for path in paths if not path.is_file()]
    if missing:
        raise InputError(raw, f"the folder lacks {', '.join(missing)}, expected {', '.join(names)}", remedy)
    return paths


def _as_text(path: Path, columns: Sequence[Column]) -> pl.LazyFrame:
    """The wanted columns that the file has, every field as text; empty fields are null."""
    parquet = path.suffix == ".parquet"
    scan = pl.scan_parquet(path) if parquet else pl.scan_csv(path, infer_schema=False)
    schema = scan.collect_schema()
    missing = [column.name for column in columns if column.required and column.name not in schema]
    if missing:
        found = ", ".join(schema.names())
        raise InputError(
            path,
            f"missing column {', '.join(missing)}, found {_shown(found)}",
            "name the columns in the first line, separated by commas" if not parquet else "rename or add the columns",
        )
    wanted = [column for column in columns if column.name in schema]
    if not parquet:
        return scan.select(_null_if_empty(pl.col(column.name)) for column in wanted)
    return scan.select(_null_if_empty(_parquet_text(path, column, schema[column.name])) for column in wanted)


def _parquet_text(path: Path, column: Column, dtype: pl.DataType) -> pl.Expr:
    field = pl.col(column.name)
    if isinstance(dtype, (pl.Datetime, pl.Date)):
        return field.cast(pl.Datetime("ms")).dt.epoch("ms").cast(pl.String)
    if dtype == pl.Boolean or dtype == pl.Null or dtype.is_numeric() or isinstance(dtype, (pl.String, pl.Categorical)):
        return field.cast(pl.String)
    raise InputError(path, f"column {column.name} is {dtype}, expected {column.expected}", "write it as text or number")


def _null_if_empty(text: pl.Expr) -> pl.Expr:
    return pl.when(text != "").then(text)


def _value(column: Column, names: list[str]) -> pl.Expr:
    if column.name in names:
        return column.parse(pl.col(column.name)).alias(column.name)
    return column.parse(pl.lit(None, dtype=pl.String)).alias(column.name)


def _is_bad(column: Column) -> pl.Expr:
    text = pl.col(column.name)
    unparsed = column.parse(text).is_null()
    return unparsed & text.is_not_null() if column.empty else unparsed


def _raise_bad_row(path: Path, columns: Sequence[Column], texts: pl.LazyFrame, row: int) -> NoReturn:
    """Say which field of row `row` (0 is the first below the header) does not parse."""
    fields = texts.slice(row, 1).collect()
    column = next(c for c in columns if c.name in fields.columns and fields.select(_is_bad(c)).item())
    text = fields[column.name].item()
    found = "is empty" if text is None else f"is {_cut(text)!r}"
    raise InputError(
        _place(path, row), f"{column.name} {found}, expected {column.expected}", "correct or remove this row"
    )


def _place(path: Path, row: int) -> str:
    if path.suffix == ".parquet":
        return f"{path} row {row + 1}"
    try:
        with _decompressed(path) as stream:
            reader = csv.reader(_lines(stream))
            next(fields for fields in reader if fields)  # the header
            next(itertools.islice(reader, row, None))
            return f"{path}:{reader.line_num}"
    except (csv.Error, StopIteration):  # polars reads a few odd quotings that the csv module does not
        return f"{path}:{row + 2}"


def _shown(text: str) -> str:
    """Text of a file or another library, on one line."""
    return _cut(" ".join(text.split()))


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_SHOWN else text[:LONGEST_SHOWN] + "..."


@contextmanager
def _decompressed(path: Path) -> Iterator[IO[bytes]]:
    with path.open("rb") as raw:
        zipped = raw.read(2) == GZIP_MAGIC
    with gzip.open(path, "rb") if zipped else path.open("rb") as stream:
        yield stream  # type: ignore[misc]


def _lines(stream: IO[bytes]) -> Iterator[str]:
    csv.field_size_limit(sys.maxsize)  # some KuaiSAR features are longer than the default limit
    return (line.decode("utf-8", errors="replace") for line in stream)


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Turn what polars and the system raise about a file's bytes into an InputError."""
    try:
        if not path.is_file():
            raise InputError(path, "the file does not exist", "check the folder given as data.raw")
        _check_gzip(path)
        yield
    except InputError:
        raise
    except pl.exceptions.NoDataError:
        raise InputError(path, "the file is empty, expected a header and rows", "give a log with rows") from None
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, EOFError, zlib.error) as error:
        _explain(path, error)


def _check_gzip(path: Path) -> None:
    """Decompress a gzip file once: a stream that is cut in its last bytes would otherwise pass for a whole one."""
    with path.open("rb") as raw:
        if raw.read(2) != GZIP_MAGIC:
            return
    try:
        with gzip.open(path, "rb") as stream:
            while stream.read(1 << 22):
                pass
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(
            path, f"the gzip file is cut short or damaged ({error})", "copy or download it again"
        ) from None


def _explain(path: Path, error: BaseException) -> NoReturn:
    """Find the line that made polars give up: text that is not UTF-8, or a row with too many fields."""
    reason = _shown(str(error))
    if path.suffix == ".parquet" or isinstance(error, OSError):
        raise InputError(
            path, f"the file cannot be read ({reason})", "check that it is complete and readable"
        ) from None
    with _decompressed(path) as stream:
        bad = next((number for number, line in enumerate(stream, start=1) if not _is_utf8(line)), None)
    if bad is not None:
        raise InputError(f"{path}:{bad}", "the line is not UTF-8 text", "save the file as UTF-8") from None
    with _decompressed(path) as stream:
        reader = csv.reader(_lines(stream))
        try:
            width = len(next(fields for fields in reader if fields))
            long = next((fields for fields in reader if len(fields) > width), None)
        except (csv.Error, StopIteration):
            long = None
        if long is not None:
            raise InputError(
                f"{path}:{reader.line_num}",
                f"{len(long)} fields, expected {width} as in the header",
                "quote fields that hold commas",
            ) from None
    raise InputError(path, f"expected a CSV file ({reason})", "check its quotes and line ends") from None
