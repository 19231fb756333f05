"""Preparation of a log in parts, as functions that any machine can run on a part or on some users' events.

A part is a piece of a raw table. A bucket holds all events of its users, in the order of the log (column `order`).
What the buckets give adds up to what the whole log would give, however users were spread over them.

Dimensions: E edges of time.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import polars as pl

from gensr_dist.data.config import DataConfig
from gensr_dist.data.events import EVENT_SCHEMA, Repair
from gensr_dist.data.preparation.shard_work import ShardResult, users_per_shard, write_users
from gensr_dist.data.preparation.splitting import SplitTimes, assign_splits
from gensr_dist.data.sources.assembling import References, Tables
from gensr_dist.data.sources.parts import Part, read_part
from gensr_dist.data.sources.times import DAY_MS
from gensr_dist.data.timelines.timelines import build_timelines
from gensr_dist.storage.folder import Folder

_EDGES = 1 << 14  # times whose ranks are counted at once
_PART_ROWS = 1 << 40  # more than a part can have: `order` is part * _PART_ROWS + row


@dataclass(frozen=True)
class Tally:
    """What a part of a table gave, in numbers."""

    read: int
    kept: int
    repairs: tuple[Repair, ...]


def survey(part: Part) -> tuple[References, Tally]:
    """Read a part of the interactions for what it refers to."""
    rows = read_part(part)
    return References.of(rows.frame), Tally(rows.read, rows.frame.height, rows.repairs)


def number_part(part: Part, place: int, tables: Tables, buckets: int) -> pl.DataFrame:
    """Read a part again: events with the columns `order` and `bucket`.

    Args:
        part: of the interactions.
        place: of the part among them.
        tables: of the whole log.
        buckets: how many there are.
    """
    events = tables.number(read_part(part).frame)
    return events.with_columns(
        order=pl.int_range(pl.len(), dtype=pl.Int64) + place * _PART_ROWS,
        bucket=pl.col("user").cast(pl.Int64) % buckets,
    )


def gather_bucket(events: pl.DataFrame) -> pl.DataFrame:
    """A bucket of the events of its users, in any order: the first of each set of equal events, in order."""
    return (
        events.sort("order")
        .unique(EVENT_SCHEMA.names(), keep="first", maintain_order=True)
        .select(*EVENT_SCHEMA.names(), "order")
    )


def split_bucket(events: pl.DataFrame, moments: SplitTimes | None, config: DataConfig) -> pl.DataFrame:
    """Add the columns `split` and `shard`."""
    shard = pl.col("user").cast(pl.Int64) // users_per_shard(config)
    return assign_splits(events, moments).with_columns(shard=shard)


def write_bucket(
    events: pl.DataFrame, target: Folder, *, users: int, items: int, config: DataConfig, seed: int
) -> ShardResult:
    """Write a shard.

    Args:
        events: all of the shard's users, in any order, with the columns of `split_bucket`.
        target: as for `PreparationEngine.write_shards`.
        users: of the whole clean log.
        items: of the whole clean log.
        config: settings.
        seed: of the evaluation negatives.

    Raises:
        InputError: as `write_users`.
    """
    number = int(events["shard"][0])
    first = number * users_per_shard(config)
    here = min(first + users_per_shard(config), users) - first
    events = events.sort("order").with_columns(pl.col("user") - first)
    timelines = build_timelines(here, events)
    return write_users(target, number, timelines, first, items=items, config=config, seed=seed)


def days_of(events: pl.DataFrame) -> set[int]:
    """Days since 1970 that have events."""
    return set((events["time"].unique() // DAY_MS).to_list())


def positives_before(events: pl.DataFrame, edge_E: np.ndarray) -> np.ndarray:
    """How many positive events are earlier than each of some times, int64 [E]; counts of buckets add up."""
    return np.searchsorted(np.sort(events.filter("positive")["time"].to_numpy()), edge_E, side="left")


def time_of_rank(rank: int, latest: int, count: Callable[[np.ndarray], np.ndarray]) -> int:
    """Time of the event with this place among all positive events in order of time, by narrowing down.

    Args:
        rank: from 0.
        latest: no event is later.
        count: `positives_before` of the whole log.
    """
    low, high = 0, latest + 1  # count(low) <= rank < count(high)
    while high - low > 1:
        edge_E = np.unique(np.linspace(low, high, _EDGES).astype(np.int64))
        place = int(np.searchsorted(count(edge_E), rank, side="right")) - 1
        low, high = int(edge_E[place]), int(edge_E[place + 1])
    return low
