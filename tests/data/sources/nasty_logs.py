"""Small valid logs of every source, as tables of values that accidents can happen to."""

import csv
import gzip
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Literal

import polars as pl

from gensr_dist.data.sources.kuaisar import CATEGORIES

FORMS = ("kuaisar", "amazon 2014", "amazon 2018", "amazon 2023", "tables csv", "tables parquet")
START, DAY = 1_684_713_600_000, 86_400_000  # ms
TEXTS = (
    '20" tv, black',
    "Café & bar",
    "Women's shoes <new>",
    'the "best" of',
    "red  dress",
    "salt & pepper, fine",
    "two\nlines, of text",
    "灯 lamp",
)
QUERIES = ("red shoes", '20" tv', "salt & pepper", "café", "", "lamp, small")
Kind = Literal["csv", "json", "parquet"]
Row = dict[str, object]


@dataclass(frozen=True, kw_only=True)
class Table:
    """One file of a log.

    ids: columns of ids; shared: those of them that another table lists; texts: columns of free text, queries included.
    time: its column, "" for none, in `unit_ms`. optional: columns without which a log is valid.
    content: bytes in place of `rows`.
    """

    file: str
    kind: Kind
    rows: list[Row]
    ids: tuple[str, ...] = ()
    shared: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()
    time: str = ""
    optional: tuple[str, ...] = ()
    unit_ms: int = 1
    content: bytes | None = None

    @property
    def columns(self) -> list[str]:
        """Names in the order of the file."""
        return list(self.rows[0])

    def with_rows(self, rows: list[Row]) -> "Table":
        """The same file with other values."""
        return replace(self, rows=rows)

    def with_text(self, text: str) -> "Table":
        """The same file with other text."""
        return replace(self, content=text.encode())

    def text(self) -> str:
        """What the file holds, of CSV and JSON."""
        return csv_text(self.columns, self.rows) if self.kind == "csv" else json_text(self.rows)

    def frame(self) -> pl.DataFrame:
        """What the file holds, of Parquet."""
        return pl.DataFrame({name: _typed([row[name] for row in self.rows]) for name in self.columns})

    def write(self, folder: Path) -> None:
        """Put the file into a folder; a name that ends in `.gz` is zipped."""
        content = self.content
        if content is None:
            content = parquet(self.frame()) if self.kind == "parquet" else self.text().encode()
        (folder / self.file).write_bytes(gzip.compress(content, 1) if self.file.endswith(".gz") else content)


@dataclass(frozen=True)
class Log:
    """A raw log: its source's name and its files."""

    source: str
    tables: tuple[Table, ...]

    def write(self, folder: Path) -> Path:
        """Write all files."""
        for table in self.tables:
            table.write(folder)
        return folder

    def with_table(self, table: Table, number: int) -> "Log":
        """The log with one file in place of another."""
        return replace(self, tables=(*self.tables[:number], table, *self.tables[number + 1 :]))


def csv_text(columns: Sequence[str], rows: Sequence[Row], **dialect: object) -> str:
    """Rows as CSV; None is an empty field."""
    stream = io.StringIO()
    writer = csv.writer(stream, **{"lineterminator": "\n", **dialect})
    writer.writerow(columns)
    writer.writerows([cell_text(row[name]) for name in columns] for row in rows)
    return stream.getvalue()


def json_text(rows: Sequence[Row]) -> str:
    """Rows as lines of JSON."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def parquet(frame: pl.DataFrame) -> bytes:
    """A frame as the bytes of a Parquet file."""
    stream = io.BytesIO()
    frame.write_parquet(stream)
    return stream.getvalue()


def with_frame(table: Table, frame: pl.DataFrame) -> Table:
    """A Parquet table with other content."""
    return replace(table, content=parquet(frame))


def cell_text(value: object) -> str:
    """A value as CSV has it."""
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)


def valid_log(form: str, rng: Random) -> Log:
    """Draw a log of one of FORMS: 6 to 12 events of 3 users and 4 items over as many days."""
    numeric = form == "kuaisar" or rng.random() < 0.5
    users: list[object] = [5, 17, 120] if numeric else ["ann", "u7", "u8b"]
    items: list[object] = [3, 40, 41, 1234] if numeric else ["i0", "b01c", "i12", "i7x"]
    days = range(rng.randint(6, 12))
    order = rng.sample(items, 4)  # every item is met
    met = [(users[day % 3], order[day % 4], START + day * DAY + rng.randrange(1, 80_000_001)) for day in days]
    if form == "kuaisar":
        return _kuaisar(rng, met, users, items)
    if form.startswith("tables"):
        return _tables(rng, form, met, users, items)
    return _amazon(rng, form, met, items)


def _kuaisar(rng: Random, met: list[tuple[object, object, int]], users: list[object], items: list[object]) -> Log:
    recommendations = [
        {"user_id": user, "item_id": item, "playing_time": 1000, "timestamp": time, "click": rng.randrange(2)}
        for user, item, time in met
    ]
    searches = [
        {
            "user_id": user,
            "keyword": rng.choice(["[1, 22]", "[7]", "[]"]),
            "search_session_timestamp": time + 5,
            "item_id": item,
            "click_cnt": rng.randrange(3),
        }
        for user, item, time in met
    ]
    levels = [[f"{word} {item}" for word in ("Food", 'Cake "big"', "Cream, fresh", "Tea & milk")] for item in items]
    features = [
        {"item_id": item, "caption": rng.choice(["[5, 66]", "[]"]), **dict(zip(CATEGORIES, names, strict=True))}
        for item, names in zip(items, levels, strict=True)
    ]
    people = [{"user_id": user, "active": 1} for user in users]
    ids = ("user_id", "item_id")
    return Log(
        "kuaisar",
        (
            Table(file="rec_inter.csv", kind="csv", rows=recommendations, ids=ids, shared=ids, time="timestamp"),
            Table(
                file="src_inter.csv", kind="csv", rows=searches, ids=ids, shared=ids, time="search_session_timestamp"
            ),
            Table(
                file="item_features.csv",
                kind="csv",
                rows=features,
                ids=("item_id",),
                shared=("item_id",),
                texts=CATEGORIES,
            ),
            Table(file="user_features.csv", kind="csv", rows=people, ids=("user_id",), shared=("user_id",)),
        ),
    )


def _tables(
    rng: Random, form: str, met: list[tuple[object, object, int]], users: list[object], items: list[object]
) -> Log:
    kind: Kind = "parquet" if form == "tables parquet" else "csv"
    suffix = ".parquet" if kind == "parquet" else rng.choice([".csv", ".csv.gz"])
    with_users = rng.random() < 0.5
    events: list[Row] = []
    for user, item, time in met:
        search = rng.random() < 0.5
        row: Row = {"user_id": user, "item_id": item, "behaviour": "src" if search else "rec", "time": time}
        events.append({**row, "query": rng.choice(QUERIES) if search else None, "positive": rng.random() < 0.7})
    events[0] |= {"behaviour": "src", "query": QUERIES[1]}
    if rng.random() < 0.5:
        events = [{name: row[name] for name in ("query", "positive", "time", *list(row)[:3])} for row in events]
    features: list[Row] = [{"item_id": item, "text": text} for item, text in zip(items, _texts(rng), strict=True)]
    known = ("user_id", "item_id") if with_users else ("item_id",)
    tables = [
        Table(
            file=f"events{suffix}",
            kind=kind,
            rows=events,
            ids=("user_id", "item_id"),
            shared=known,
            texts=("query",),
            time="time",
            optional=("query", "positive"),
        ),
        Table(file=f"items{suffix}", kind=kind, rows=features, ids=("item_id",), shared=("item_id",), texts=("text",)),
    ]
    if with_users:
        people: list[Row] = [{"user_id": user} for user in users]
        tables.append(Table(file=f"users{suffix}", kind=kind, rows=people, ids=("user_id",), shared=("user_id",)))
    return Log("tables", tuple(tables))


def _amazon(rng: Random, form: str, met: list[tuple[object, object, int]], items: list[object]) -> Log:
    of_2023 = form == "amazon 2023"
    user, item, time = ("user_id", "parent_asin", "timestamp") if of_2023 else ("reviewerID", "asin", "unixReviewTime")
    unit_ms = 1 if of_2023 else 1000
    reviews: list[Row] = [
        {user: str(who), item: str(what), time: when // unit_ms, "overall": 5.0} for who, what, when in met
    ]
    meta: list[Row] = []
    for what, text in zip(items, _texts(rng), strict=True):
        path = ["Beauty", f"Bath & Body {what}"]
        paths: Row = {"categories": [path]} if form == "amazon 2014" else {"category": path}
        name = {"title": text, "store" if of_2023 else "brand": rng.choice(["ACME & Co", None, 'The "X"'])}
        meta.append({item: str(what), **name, **({"categories": path} if of_2023 else paths)})
    names = {
        "amazon 2014": ("reviews_X_5.json", "meta_X.json"),
        "amazon 2018": ("X_5.json", "meta_X.json"),
        "amazon 2023": ("X.jsonl", "meta_X.jsonl"),
    }[form]
    suffix = rng.choice(["", ".gz"])
    texts = ("title", "store" if of_2023 else "brand")
    return Log(
        "amazon",
        (
            Table(
                file=names[0] + suffix,
                kind="json",
                rows=reviews,
                ids=(user, item),
                shared=(item,),
                time=time,
                unit_ms=unit_ms,
            ),
            Table(file=names[1] + suffix, kind="json", rows=meta, ids=(item,), shared=(item,), texts=texts),
        ),
    )


def _texts(rng: Random) -> list[str]:
    """Four texts, one with a quote among them."""
    return [TEXTS[0], *rng.sample(TEXTS[1:], 3)]


def _typed(values: list[object]) -> list[object]:
    """Values of one type, for Parquet: text where they were not."""
    kinds = {type(value) for value in values if value is not None}
    if any(isinstance(value, int) and value >= 1 << 63 for value in values):
        kinds.add(str)  # no integer of Parquet's
    if len(kinds) < 2:
        return values
    change = float if kinds == {int, float} else cell_text
    return [None if value is None else change(value) for value in values]
