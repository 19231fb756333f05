"""From a source's raw ids to an EventLog: dense rows in id order, duplicates dropped, gaps filled and counted.

Dimensions: N values, I distinct ids, S whole numbers from the least id to the greatest.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from gensr_dist.data.events import EventLog, Repair
from gensr_dist.data.sources.ids import id_order, require_known, require_one_form
from gensr_dist.data.sources.parts import add_repairs
from gensr_dist.data.sources.reading import Rows
from gensr_dist.data.sources.times import require_span

_NEVER = 1 << 62
_SPARSE = 8  # a table of all numbers up to the largest id is used if it is at most so many times longer than the ids


@dataclass(frozen=True)
class References:
    """What interactions refer to: distinct ids and queries, in any order."""

    user_id: pl.Series
    item_id: pl.Series
    query: pl.Series  # without null
    first: int  # time, ms
    last: int
    time_bits: int  # all times joined by `or`

    @classmethod
    def of(cls, interactions: pl.DataFrame) -> "References":
        """Collect from the interactions of a log, or of a part of it."""
        query = interactions["query"].unique().drop_nulls()
        time = interactions["time"].to_numpy()
        return cls(
            interactions["user_id"].unique(),
            interactions["item_id"].unique(),
            query,
            first=int(time.min(initial=_NEVER)),
            last=int(time.max(initial=0)),
            time_bits=int(np.bitwise_or.reduce(time)) if len(time) else 0,
        )

    @classmethod
    def joined(cls, parts: Sequence["References"]) -> "References":
        """What several parts refer to."""
        names = ("user_id", "item_id", "query")
        return cls(
            **{name: pl.concat([getattr(part, name) for part in parts]).unique() for name in names},
            first=min(part.first for part in parts),
            last=max(part.last for part in parts),
            time_bits=int(np.bitwise_or.reduce([part.time_bits for part in parts])),
        )


@dataclass(frozen=True)
class Tables:
    """The tables of a log with their raw ids; a row's place is its number. Ids are Int64 or String."""

    user_id: pl.Series
    item_id: pl.Series
    text: pl.Series  # of items
    query: pl.Series

    def number(self, interactions: pl.DataFrame) -> pl.DataFrame:
        """Events (EVENT_SCHEMA) of interactions, in their order."""
        query = _rows_of(interactions["query"], self.query)
        return interactions.select(
            _rows_of(interactions["user_id"], self.user_id).alias("user"),
            _rows_of(interactions["item_id"], self.item_id).alias("item"),
            "behaviour",
            "time",
            query.cast(pl.Int32).fill_null(-1).alias("query"),
            "positive",
        )


def assemble(interactions: Rows, items: Rows, users: Rows) -> EventLog:
    """Build the log of what the parts of its three tables gave (`SourceParts`)."""
    tables, repairs = build_tables(References.of(interactions.frame), items.frame, users.frame)
    events = tables.number(interactions.frame)
    distinct = drop_repeats(events)
    dropped = Repair("duplicate events dropped", events.height - distinct.height, drops=True)
    return EventLog(
        users=pl.DataFrame({"user_id": tables.user_id.cast(pl.String)}),
        items=pl.DataFrame({"item_id": tables.item_id.cast(pl.String), "text": tables.text}),
        queries=pl.DataFrame({"text": tables.query}),
        events=distinct,
        repairs=add_repairs([*interactions.repairs, *items.repairs, *users.repairs, *repairs, dropped]),
        read=interactions.read,
    )


def build_tables(referred: References, items: pl.DataFrame, users: pl.DataFrame) -> tuple[Tables, list[Repair]]:
    """Complete the tables of a log.

    Users and items are in numeric order of their ids where all are numbers, else in text order, so nothing downstream
    depends on the order of the files. The first of repeated ids counts; an item without features gets an empty text.

    Args:
        referred: what the interactions refer to.
        items: item_id, text.
        users: user_id; users besides those of the interactions. Without columns: none are listed.

    Raises:
        InputError: the times are implausible, or ids of events and of the other tables do not agree.
    """
    require_span(referred.first, referred.last, referred.time_bits)
    texts = items.unique("item_id", keep="first", maintain_order=True)
    unknown = referred.item_id.to_frame().join(texts, on="item_id", how="anti")
    require_known(referred.item_id, texts["item_id"], unknown["item_id"], "items")
    catalogue = pl.concat([texts, unknown.with_columns(pl.lit("").alias("text"))])
    catalogue = catalogue.sort(id_order(catalogue["item_id"]))
    repairs = [
        Repair("duplicate item rows dropped", items.height - texts.height),
        Repair("items of events without features kept with empty text", unknown.height),
        Repair("items with no text kept", int((texts["text"] == "").sum())),
    ]
    people = referred.user_id
    if users.width:
        known = users["user_id"].unique()
        strange = people.filter(~people.is_in(known.implode()))
        if len(strange) == len(people):
            require_known(people, known, strange, "users")
        people = pl.concat([known, people]).unique()
        repairs.append(Repair("duplicate user rows dropped", users.height - len(known)))
        repairs.append(Repair("users of events without features kept", len(people) - len(known)))
    require_one_form(catalogue["item_id"], "items")
    require_one_form(people, "users")
    population = people.to_frame().sort(id_order(people))
    return Tables(population["user_id"], catalogue["item_id"], catalogue["text"], referred.query.sort()), repairs


def drop_repeats(events: pl.DataFrame) -> pl.DataFrame:
    """First of each set of equal rows, order kept.

    Equal rows have equal hashes, so only rows whose hash occurs twice are compared: a third of the memory and time of
    `unique` over all rows.
    """
    hashes = events.hash_rows()
    ordered = np.sort(hashes.to_numpy())
    repeated = pl.Series(np.unique(ordered[1:][ordered[1:] == ordered[:-1]]))
    if repeated.is_empty():
        return events
    suspects = events.with_row_index("row").filter(hashes.is_in(repeated.implode()))
    firsts = suspects.unique(events.columns, keep="first")
    keep = np.ones(events.height, dtype=np.bool_)
    keep[suspects["row"].to_numpy()] = False
    keep[firsts["row"].to_numpy()] = True
    return events.filter(pl.Series(keep))


def _rows_of(values: pl.Series, table: pl.Series) -> pl.Series:
    """Place of each value in `table`, whose values are distinct; UInt32, null for null."""
    if values.dtype.is_integer():
        return pl.Series(_places(values.to_numpy(), table.to_numpy()), dtype=pl.UInt32)
    name = values.name
    places = pl.DataFrame({name: table}).with_row_index("row")
    return values.to_frame().join(places, on=name, how="left", maintain_order="left")["row"]


def _places(value_N: np.ndarray, ascending_I: np.ndarray) -> np.ndarray:
    low, span = int(ascending_I[0]), int(ascending_I[-1]) - int(ascending_I[0]) + 1
    if span > _SPARSE * len(ascending_I):
        return np.searchsorted(ascending_I, value_N)
    place_S = np.zeros(span, dtype=np.uint32)
    place_S[ascending_I - low] = np.arange(len(ascending_I), dtype=np.uint32)
    return place_S[value_N - low]
