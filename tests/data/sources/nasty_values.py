"""Accidents to the values of a valid table: times and ids as other programs would have written them.

An accident takes a table and gives it spoiled, or None where it cannot happen to that table.
"""

from collections.abc import Callable
from datetime import datetime, timezone
from random import Random

import numpy as np
import polars as pl

from .nasty_logs import Table, with_frame

Accident = Callable[[Random, Table], Table | None]
NONE_WORDS = ("nan", "NaN", "None", "NULL", "null", "\\N", "NA", "<NA>", "")
ODD_TIMES = (0, -1, -1684713600000, 20240501, 1.5, "noon", "2024-05", "4e12", 10**18, 10**30, "", None)


def all_rows(rng: Random, count: int) -> set[int]:
    """Every row."""
    return set(range(count))


def some_rows(rng: Random, count: int) -> set[int]:
    """A few rows."""
    return set(rng.sample(range(count), rng.randint(1, max(1, count // 3))))


def last_row(rng: Random, count: int) -> set[int]:
    """The last."""
    return {count - 1}


Rows = Callable[[Random, int], set[int]]


def changed(table: Table, column: str, rows: set[int], change: Callable[[object], object]) -> Table:
    """The table with other values in some rows of a column."""
    return table.with_rows(
        [{**row, column: change(row[column])} if number in rows else row for number, row in enumerate(table.rows)]
    )


def of_times(rows: Rows, change: Callable[[int], object]) -> Accident:
    """An accident to times, given in ms and to be returned in the table's unit."""

    def happen(rng: Random, table: Table) -> Table | None:
        if not table.time:
            return None
        chosen = rows(rng, len(table.rows))
        return changed(table, table.time, chosen, lambda value: change(int(str(value)) * table.unit_ms))

    return happen


def of_ids(rows: Rows, change: Callable[[str], object], *, shared: bool = False) -> Accident:
    """An accident to one column of ids, given as text; `shared`: only to ids that another table lists too."""

    def happen(rng: Random, table: Table) -> Table | None:
        columns = table.shared if shared else table.ids
        if not columns:
            return None
        return changed(table, rng.choice(columns), rows(rng, len(table.rows)), lambda value: change(str(value)))

    return happen


def in_other_unit(rng: Random, table: Table, rows: Rows) -> Table | None:
    """Seconds, milliseconds, microseconds or nanoseconds, whichever are not the table's."""
    factor = rng.choice([factor for factor in (1000.0, 1.0, 1e-3, 1e-6) if factor != table.unit_ms])
    return of_times(rows, lambda ms: int(ms / factor))(rng, table)


def odd_time(rng: Random, table: Table) -> Table | None:
    """A value that is no time."""
    value = rng.choice(ODD_TIMES)
    return of_times(some_rows, lambda ms: value)(rng, table)


def cut_time(rng: Random, table: Table) -> Table | None:
    """The last time lost its last digits."""
    kept = rng.randint(0, 9 if table.unit_ms == 1000 else 12)
    return of_times(last_row, lambda ms: str(ms // table.unit_ms)[:kept])(rng, table)


def rounded_by_float32(rng: Random, table: Table) -> Table | None:
    """All times went through floats of 32 bits."""
    if table.unit_ms != 1:
        return None
    return of_times(all_rows, lambda ms: int(np.float32(ms)))(rng, table)


def with_point(text: str) -> str:
    """`12` as `12.0`; other ids stay."""
    return f"{text}.0" if text.isdigit() else text


def scientific(text: str) -> str:
    """`1234` as `1.234000e+03`; other ids stay."""
    return f"{int(text):.6e}" if text.isdigit() else text


def word_for_none(rng: Random, table: Table) -> Table | None:
    """A few ids are the word of some program for no value."""
    word = rng.choice(NONE_WORDS)
    return of_ids(some_rows, lambda text: word)(rng, table)


def as_json_numbers(rng: Random, table: Table) -> Table | None:
    """Ids as numbers, whole or not, and not as text."""
    kind = rng.choice([int, float])
    return of_ids(rng.choice([all_rows, some_rows]), lambda text: kind(text) if text.isdigit() else text)(rng, table)


def as_json_odd(rng: Random, table: Table) -> Table | None:
    """A field of an id or a time that holds what JSON can hold elsewhere."""
    column = rng.choice([*table.ids, *([table.time] if table.time else [])])
    value = rng.choice([None, True, [], ["i0"], {"a": 1}, float("nan"), 1.5])
    return changed(table, column, some_rows(rng, len(table.rows)), lambda _: value)


def times_as_text(rng: Random, table: Table) -> Table | None:
    """Times as text, or as floats."""
    kind = rng.choice([str, float])
    return of_times(rng.choice([all_rows, some_rows]), lambda ms: kind(ms // table.unit_ms))(rng, table)


def id_type(rng: Random, table: Table) -> Table | None:
    """A Parquet column of ids in a type that other programs write."""
    column = rng.choice(table.ids)
    numeric = all(isinstance(row[column], int) for row in table.rows)
    dtypes = [pl.Float32, pl.Float64, pl.UInt64, pl.Int16, pl.Decimal(18, 1), pl.String] if numeric else []
    dtype = rng.choice([*dtypes, pl.Binary, pl.Categorical])
    frame = table.frame()
    text = frame[column].cast(pl.String)
    values = text.cast(dtype) if dtype in (pl.Binary, pl.Categorical) else frame[column].cast(dtype)
    return with_frame(table, frame.with_columns(values.alias(column)))


def gap_in_ids(rng: Random, table: Table) -> Table | None:
    """A Parquet column of ids with null or NaN in some rows, which makes numbers floats."""
    column = rng.choice(table.ids)
    numeric = all(isinstance(row[column], int) for row in table.rows)
    gap = float("nan") if numeric and rng.random() < 0.5 else None
    spoiled = changed(table, column, some_rows(rng, len(table.rows)), lambda _: gap)
    values: list[object] = [row[column] for row in spoiled.rows]
    series = pl.Series(column, [None if v is None else float(str(v)) for v in values]) if numeric else None
    frame = table.frame()
    return with_frame(table, frame.with_columns(series if series is not None else pl.Series(column, values)))


def time_type(rng: Random, table: Table) -> Table | None:
    """A Parquet column of times in another type."""
    if not table.time:
        return None
    frame = table.frame()
    time = pl.col(table.time)
    kinds = [pl.Datetime("ns"), pl.Datetime("us", "Asia/Tokyo"), pl.Datetime("ms"), pl.Float64, pl.Float32, pl.String]
    kind = rng.choice([*kinds, pl.Int32, pl.Time, pl.Duration("ms")])
    if isinstance(kind, pl.Datetime):
        zone = kind.time_zone
        stamp = pl.from_epoch(time, "ms").cast(pl.Datetime(kind.time_unit))
        if zone:
            stamp = stamp.dt.replace_time_zone("UTC").dt.convert_time_zone(zone)
        return with_frame(table, frame.with_columns(stamp))
    return with_frame(table, frame.with_columns((time // 1000 if kind == pl.Int32 else time).cast(kind)))


def as_iso(ms: int) -> str:
    """Milliseconds as ISO 8601 with an offset."""
    return datetime.fromtimestamp(ms / 1000, timezone.utc).isoformat(timespec="milliseconds")


ANY = {
    "times all in another unit": lambda rng, table: in_other_unit(rng, table, all_rows),
    "times of some rows in another unit": lambda rng, table: in_other_unit(rng, table, some_rows),
    "times as digits of a date": of_times(all_rows, lambda ms: int(as_iso(ms)[:10].replace("-", ""))),
    "a time as digits of a date": of_times(some_rows, lambda ms: int(as_iso(ms)[:10].replace("-", ""))),
    "times in scientific notation": of_times(all_rows, lambda ms: f"{ms:.5e}"),
    "a time in scientific notation": of_times(some_rows, lambda ms: f"{ms:.12e}"),
    "an odd time": odd_time,
    "the last time cut": cut_time,
    "times rounded by float32": rounded_by_float32,
    "times as text or floats": times_as_text,
    "times in ISO 8601": of_times(some_rows, as_iso),
    "a word for none as id": word_for_none,
    "ids with .0": of_ids(all_rows, with_point),
    "some ids with .0": of_ids(some_rows, with_point),
    "ids in scientific notation": of_ids(some_rows, scientific),
    "ids of one side with leading zeros": of_ids(all_rows, lambda text: f"00{text}", shared=True),
    "some ids with leading zeros": of_ids(some_rows, lambda text: f"0{text}", shared=True),
    "ids of one side in upper case": of_ids(all_rows, str.upper, shared=True),
    "some ids in upper case": of_ids(some_rows, str.upper, shared=True),
    "ids with blanks around": of_ids(some_rows, lambda text: f" {text}\t"),
    "ids with invisible characters": of_ids(some_rows, lambda text: f"\ufeff{text}"),
    "ids with zero width space": of_ids(some_rows, lambda text: f"{text}\u200b"),
    "ids with a control character": of_ids(some_rows, lambda text: f"{text}\x7f"),
}
JSON = {"ids as JSON numbers": as_json_numbers, "odd JSON value": as_json_odd}
PARQUET = {"type of ids": id_type, "gap in ids": gap_in_ids, "type of times": time_type}
