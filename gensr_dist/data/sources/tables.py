"""The user's own tables: a folder with events, items and, if wanted, users. Columns: shards/recipes/tables.md."""

from collections.abc import Iterable
from functools import partial

import polars as pl

from gensr_dist.data.events import Behaviour, Repair
from gensr_dist.data.sources.chunks import Advance, Chunk, Each
from gensr_dist.data.sources.columns import Column, time_column
from gensr_dist.data.sources.ids import FIXED, explain_id, is_decimal, parse_id
from gensr_dist.data.sources.listing import RawFile, cut_files, table_file
from gensr_dist.data.sources.parts import Sample, SourceParts
from gensr_dist.data.sources.raw_files import shown
from gensr_dist.data.sources.reading import Rows, read_chunk
from gensr_dist.data.sources.texts import clean, parse_text
from gensr_dist.data.sources.times import plausible, require_exact
from gensr_dist.errors import InputError
from gensr_dist.storage.folder import Folder

SUFFIXES = (".csv", ".csv.gz", ".parquet")
FILES = tuple(f"{table}{suffix}" for table in ("events", "items", "users") for suffix in SUFFIXES)
BEHAVIOURS = {
    "rec": Behaviour.RECOMMENDATION,
    "recommendation": Behaviour.RECOMMENDATION,
    "src": Behaviour.SEARCH,
    "search": Behaviour.SEARCH,
}
FLAGS = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}
REMEDY = "see shards/recipes/tables.md for the files and columns"


def parse_behaviour(text: pl.Expr) -> pl.Expr:
    """`rec`, `src` or their long names, in any case."""
    names = text.str.strip_chars().str.to_lowercase()
    return names.replace_strict({name: int(code) for name, code in BEHAVIOURS.items()}, default=None).cast(pl.UInt8)


def parse_flag(text: pl.Expr) -> pl.Expr:
    """`true`, `false`, 1 or 0."""
    return text.str.strip_chars().str.to_lowercase().replace_strict(FLAGS, default=None, return_dtype=pl.Boolean)


def parse_time(text: pl.Expr) -> pl.Expr:
    """Integer milliseconds since 1970, or ISO 8601 text, which is UTC unless it says its offset.

    Databases write it with a blank, and UTC as `+00` (Postgres) or in words (BigQuery).
    """
    stripped = text.str.strip_chars()
    milliseconds = stripped.str.replace(r"\.0+$", "").cast(pl.Int64, strict=False)
    iso = stripped.str.replace(" ", "T", literal=True).str.replace("(?:Z| UTC)$", "+00:00")
    iso = iso.str.replace(r"(:\d\d(?:\.\d+)?[+-]\d\d)$", "${1}:00")
    length = iso.str.len_bytes()  # of a form; the parser would also take a text that was cut within its last digits
    local = [
        iso.str.to_datetime(form, strict=False, time_unit="ms").dt.epoch("ms")
        for form in ("%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d", "%Y-%m-%dT%H:%M")
    ]
    offset = iso.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f%z", strict=False, time_unit="ms").dt.epoch("ms")
    whole = (length >= 19) | (length == 10) | (length == 16)
    return plausible(pl.coalesce(milliseconds, pl.when(whole).then(pl.coalesce(*local, offset))))


def _id_column(name: str, role: str) -> Column:
    return Column(
        name=name,
        role=role,
        expected="an id",
        parse=partial(parse_id, column=name),
        explain=partial(explain_id, column=name),
        exact=True,
        fixed=is_decimal,
        fixing=FIXED,
    )


EVENT_COLUMNS = (
    _id_column("user_id", "user"),
    _id_column("item_id", "item"),
    Column(name="behaviour", expected="rec or src", parse=parse_behaviour),
    time_column(
        "time",
        role="time, milliseconds or ISO 8601",
        expected="milliseconds since 1970 or ISO 8601, from 1990 to tomorrow",
        parse=parse_time,
    ),
    Column(name="query", expected="text", parse=parse_text, required=False, empty=True),
    Column(
        name="positive",
        expected="true, false, 1 or 0",
        parse=parse_flag,
        required=False,
        empty=True,
        fixed=pl.Expr.is_null,
        fixing="that are empty read as true",
        absent="read as positive",
    ),
)
ITEM_COLUMNS = (
    _id_column("item_id", "item"),
    Column(name="text", expected="text", parse=parse_text, empty=True),
)
USER_COLUMNS = (_id_column("user_id", "user"),)


def files(raw: Folder) -> tuple[RawFile, ...]:
    """The files of the log: `events`, `items` and optionally `users`, each as .csv, .csv.gz or .parquet.

    Raises:
        InputError: a file is missing or there twice, or what has its name is none.
    """
    events, items = (_table(raw, name) for name in ("events", "items"))
    users = _table(raw, "users", required=False)
    return (
        table_file(events, "events", EVENT_COLUMNS, _events),
        table_file(items, "items", ITEM_COLUMNS, item_rows),
        *((table_file(users, "users", USER_COLUMNS, _users),) if users else ()),
    )


def parts(raw: Folder, each: Each, sample: Sample) -> SourceParts:
    """See `listing.cut_files`."""
    return cut_files(files(raw), each, sample)


def _events(chunk: Chunk, advance: Advance) -> Rows:
    search = pl.col("behaviour") == int(Behaviour.SEARCH)
    keep = (
        *(pl.col(name) for name in ("user_id", "item_id", "behaviour", "time")),
        pl.when(search).then(pl.col("query").fill_null("")).alias("query"),
        pl.col("positive").fill_null(True),
        (~search & (pl.col("query").fill_null("") != "")).alias("stray"),
    )
    rows = read_chunk(chunk, EVENT_COLUMNS, keep, advance)
    require_exact(chunk.file, rows.frame["time"])
    repairs = (
        Repair("queries of recommendation events dropped", int(rows.frame["stray"].sum())),
        Repair("searches with an empty query kept", int((rows.frame["query"] == "").sum())),
    )
    queries, more = clean(rows.frame["query"], "queries")
    return Rows(rows.frame.drop("stray").with_columns(queries), rows.repairs + repairs + more, rows.read)


def item_rows(chunk: Chunk, advance: Advance) -> Rows:
    """Rows of an items table: item_id and text; also of one that comes after training.

    Raises:
        InputError: the file is unreadable, lacks a column, or has a field that does not parse.
    """
    rows = read_chunk(chunk, ITEM_COLUMNS, (pl.col("item_id"), pl.col("text").fill_null("")), advance)
    texts, repairs = clean(rows.frame["text"], "texts of items")
    return Rows(rows.frame.with_columns(texts), rows.repairs + repairs, rows.read)


def _users(chunk: Chunk, advance: Advance) -> Rows:
    return read_chunk(chunk, USER_COLUMNS, advance=advance)


def _table(raw: Folder, name: str, *, required: bool = True) -> str:
    """Path or URL of the one file of a table; empty where an optional one is absent."""
    present = raw.sizes()
    choices = [f"{name}{suffix}" for suffix in SUFFIXES]
    found = [file for file in choices if file in present]
    if len(found) > 1:
        problem = f"found {', '.join(found)}, expected one file for table {name}"
        raise InputError(raw.place, problem, "remove the others")
    if not found:
        for file in choices:
            _require_no_other(raw, file, present)
    if not found and required:
        held = shown(", ".join(sorted({path.split("/")[0] for path in present}))) or "no file"
        problem = f"table {name} is missing, expected one of {', '.join(choices)} (the folder holds {held})"
        raise InputError(raw.place, problem, REMEDY)
    return raw.where(found[0]) if found else ""


def _require_no_other(raw: Folder, file: str, present: Iterable[str]) -> None:
    """Refuse what has the name of a table and is no file, instead of calling the table missing."""
    path = raw.local / file if raw.local is not None else None
    if any(name.startswith(f"{file}/") for name in present) or (path is not None and path.is_dir()):
        raise InputError(raw.where(file), "it is a folder, expected a file", "write its parts as one file of this name")
    if path is not None and path.exists():
        raise InputError(
            path, "it is no regular file (a pipe or a device), expected a file", "write its rows to a file"
        )
    if path is not None and path.is_symlink():
        raise InputError(path, f"it is a link to nothing: {path.readlink()}", "link to the table, or put it there")
