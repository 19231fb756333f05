"""From a source's raw ids to an EventLog: dense rows in id order, duplicates dropped, gaps filled and counted."""

from collections.abc import Iterable, Sequence

import numpy as np
import polars as pl

from gensr_dist.data.events import EVENT_SCHEMA, EventLog, Repair

NUMERIC_ID = r"^[0-9]{1,18}$"  # fits int64


def assemble(
    interactions: pl.DataFrame, items: pl.DataFrame, users: pl.Series, repairs: Iterable[Repair] = ()
) -> EventLog:
    """Build the log. Ids may be integers or text, of one kind in all three arguments.

    Rows of users and items are in numeric order of their ids where all are numbers, else in text order, so nothing
    downstream depends on the order of the files.

    Args:
        interactions: user_id, item_id, behaviour (UInt8), time (Int64 ms), query (String, null for none), positive;
            in the order of the files. An item without features gets an empty text.
        items: item_id, text; the first of repeated ids counts.
        users: user ids beside those of the interactions.
        repairs: what the source has already dropped or mended.
    """
    counts = list(repairs)

    texts = items.unique("item_id", keep="first", maintain_order=True)
    counts.append(Repair("duplicate item rows dropped", items.height - texts.height))
    met = interactions.select(pl.col("item_id").unique())
    unknown = met.join(texts, on="item_id", how="anti")
    counts.append(Repair("items of events without features kept with empty text", unknown.height))
    counts.append(Repair("items with no text kept", texts.filter(pl.col("text") == "").height))
    catalogue = pl.concat([texts, unknown.with_columns(pl.lit("").alias("text"))])
    catalogue = catalogue.sort(_id_order(catalogue["item_id"]))

    known = users.unique()
    counts.append(Repair("duplicate user rows dropped", len(users) - len(known)))
    met_users = interactions["user_id"].unique()
    people = pl.concat([known.rename("user_id"), met_users]).unique()
    if len(known):
        counts.append(Repair("users of events without features kept", len(people) - len(known)))
    population = people.to_frame().sort(_id_order(people))

    queries = interactions.select(pl.col("query").unique().drop_nulls().sort().alias("text"))
    events = (
        interactions.lazy()
        .pipe(_to_row, catalogue["item_id"], "item_id", "item", pl.UInt32)
        .pipe(_to_row, population["user_id"], "user_id", "user", pl.UInt32)
        .pipe(_to_row, queries["text"], "query", "query_row", pl.Int32)
        .select("user", "item", "behaviour", "time", pl.col("query_row").fill_null(-1).alias("query"), "positive")
        .collect()
    )
    distinct = _drop_repeats(events)
    counts.append(Repair("duplicate events dropped", events.height - distinct.height))
    return EventLog(
        users=population.select(pl.col("user_id").cast(pl.String)),
        items=catalogue.select(pl.col("item_id").cast(pl.String), "text"),
        queries=queries,
        events=distinct.select(EVENT_SCHEMA.names()),
        repairs=tuple(repair for repair in counts if repair.count),
    )


def _drop_repeats(events: pl.DataFrame) -> pl.DataFrame:
    """First of each set of equal rows, order kept.

    Equal rows have equal hashes, so only rows whose hash occurs twice are compared: a third of the memory and time of
    `unique` over all rows.
    """
    hashes = events.hash_rows()
    ordered = np.sort(hashes.to_numpy())
    repeated = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
    if not len(repeated):
        return events
    suspects = events.with_row_index("row").filter(hashes.is_in(repeated))
    firsts = suspects.unique(events.columns, keep="first")
    keep = np.ones(events.height, dtype=np.bool_)
    keep[suspects["row"].to_numpy()] = False
    keep[firsts["row"].to_numpy()] = True
    return events.filter(pl.Series(keep))


def _to_row(
    events: pl.LazyFrame, ids: pl.Series, name: str, row: str, dtype: type[pl.UInt32] | type[pl.Int32]
) -> pl.LazyFrame:
    """Replace column `name` by the row of its value in `ids`; null stays null."""
    table = pl.LazyFrame({name: ids}).with_row_index(row).with_columns(pl.col(row).cast(dtype))
    return events.join(table, on=name, how="left", maintain_order="left").drop(name)


def _id_order(ids: pl.Series) -> Sequence[pl.Expr]:
    column = pl.col(ids.name)
    if ids.dtype == pl.String and ids.str.contains(NUMERIC_ID).all():
        return [column.cast(pl.Int64), column]  # the text orders 7 and 007
    return [column]
