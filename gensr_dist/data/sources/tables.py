"""The user's own tables: a folder with events, items and, if wanted, users. Columns: shards/recipes/tables.md."""

from pathlib import Path

import polars as pl

from gensr_dist.data.events import Behaviour, EventLog, Repair
from gensr_dist.data.sources.assembling import assemble
from gensr_dist.data.sources.reading import Column, latest_time, parse_text, read_rows
from gensr_dist.errors import InputError

SUFFIXES = (".csv", ".csv.gz", ".parquet")
BEHAVIOURS = {
    "rec": Behaviour.RECOMMENDATION,
    "recommendation": Behaviour.RECOMMENDATION,
    "src": Behaviour.SEARCH,
    "search": Behaviour.SEARCH,
}
FLAGS = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}
REMEDY = "see shards/recipes/tables.md for the files and columns"


def parse_id(text: pl.Expr) -> pl.Expr:
    """Any text but the empty one."""
    identifier = text.str.strip_chars()
    return pl.when(identifier != "").then(identifier)


def parse_behaviour(text: pl.Expr) -> pl.Expr:
    """`rec`, `src` or their long names, in any case."""
    names = text.str.strip_chars().str.to_lowercase()
    return names.replace_strict({name: int(code) for name, code in BEHAVIOURS.items()}, default=None).cast(pl.UInt8)


def parse_flag(text: pl.Expr) -> pl.Expr:
    """`true`, `false`, 1 or 0."""
    return text.str.strip_chars().str.to_lowercase().replace_strict(FLAGS, default=None, return_dtype=pl.Boolean)


def parse_time(text: pl.Expr) -> pl.Expr:
    """Integer milliseconds since 1970, or ISO 8601 text, which is UTC unless it says its offset."""
    milliseconds = text.str.strip_suffix(".0").cast(pl.Int64, strict=False)
    iso = text.str.strip_chars().str.replace(" ", "T", literal=True).str.replace("Z$", "+00:00")
    local = [
        iso.str.to_datetime(form, strict=False, time_unit="ms").dt.epoch("ms")
        for form in ("%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d", "%Y-%m-%dT%H:%M")
    ]
    offset = iso.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f%z", strict=False, time_unit="ms").dt.epoch("ms")
    value = pl.coalesce(milliseconds, *local, offset)
    return pl.when(value.is_between(0, latest_time())).then(value)


EVENT_COLUMNS = (
    Column(name="user_id", expected="an id", parse=parse_id),
    Column(name="item_id", expected="an id", parse=parse_id),
    Column(name="behaviour", expected="rec or src", parse=parse_behaviour),
    Column(
        name="time",
        expected="milliseconds since 1970 or ISO 8601, not before 1970 and not in the future",
        parse=parse_time,
    ),
    Column(name="query", expected="text", parse=parse_text, required=False, empty=True),
    Column(name="positive", expected="true, false, 1 or 0", parse=parse_flag, required=False, empty=True),
)
ITEM_COLUMNS = (
    Column(name="item_id", expected="an id", parse=parse_id),
    Column(name="text", expected="text", parse=parse_text, empty=True),
)
USER_COLUMNS = (Column(name="user_id", expected="an id", parse=parse_id),)


def read(raw: Path) -> EventLog:
    """Read a folder with `events`, `items` and optionally `users`, each as .csv, .csv.gz or .parquet.

    Raises:
        InputError: a file or column is missing, a file is there twice, empty or damaged, or a field does not parse.
    """
    events_path = _table(raw, "events")
    items_path = _table(raw, "items")
    users_path = _table(raw, "users", required=False)
    assert events_path is not None
    assert items_path is not None
    search = pl.col("behaviour") == int(Behaviour.SEARCH)
    rows = read_rows(
        events_path,
        EVENT_COLUMNS,
        keep=(
            *(pl.col(name) for name in ("user_id", "item_id", "behaviour", "time")),
            pl.when(search).then(pl.col("query").fill_null("")).alias("query"),
            pl.col("positive").fill_null(True),
            (~search & (pl.col("query").fill_null("") != "")).alias("stray"),
        ),
    )
    items = read_rows(items_path, ITEM_COLUMNS, keep=(pl.col("item_id"), pl.col("text").fill_null("")))
    repairs = [
        *rows.repairs,
        *items.repairs,
        Repair("queries of recommendation events dropped", int(rows.frame["stray"].sum())),
        Repair("searches with an empty query kept", rows.frame.filter(pl.col("query") == "").height),
    ]
    users = pl.Series("user_id", [], dtype=pl.String)
    if users_path is not None:
        listed = read_rows(users_path, USER_COLUMNS)
        users = listed.frame["user_id"]
        repairs.extend(listed.repairs)
    return assemble(rows.frame.drop("stray"), items.frame, users, repairs)


def _table(raw: Path, name: str, *, required: bool = True) -> Path | None:
    """The one file of a table; None where an optional one is absent."""
    found = [raw / f"{name}{suffix}" for suffix in SUFFIXES if (raw / f"{name}{suffix}").is_file()]
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise InputError(raw, f"found {names}, expected one file for table {name}", "remove the others")
    if not found and required:
        choices = ", ".join(f"{name}{suffix}" for suffix in SUFFIXES)
        raise InputError(raw, f"table {name} is missing, expected one of {choices}", REMEDY)
    return found[0] if found else None
