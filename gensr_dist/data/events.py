"""The one schema that every source gives: users, items, queries, events."""

from dataclasses import dataclass, field
from enum import IntEnum

import polars as pl


class Behaviour(IntEnum):
    """What the user was doing when the item came up."""

    RECOMMENDATION = 0
    SEARCH = 1


USER_SCHEMA = pl.Schema({"user_id": pl.String})
ITEM_SCHEMA = pl.Schema({"item_id": pl.String, "text": pl.String})
QUERY_SCHEMA = pl.Schema({"text": pl.String})
EVENT_SCHEMA = pl.Schema(
    {
        "user": pl.UInt32,  # row of `users`
        "item": pl.UInt32,  # row of `items`
        "behaviour": pl.UInt8,  # Behaviour
        "time": pl.Int64,  # milliseconds since 1970
        "query": pl.Int32,  # row of `queries`, -1 for none
        "positive": pl.Boolean,  # clicked, bought, reviewed; False for an exposure without a click
    }
)


@dataclass(frozen=True)
class Repair:
    """Input that was mended or dropped, and how often."""

    what: str
    count: int


@dataclass(frozen=True)
class EventLog:
    """A validated log. Ids are rows of the three tables; the order of events carries no meaning but breaks ties."""

    users: pl.DataFrame  # USER_SCHEMA
    items: pl.DataFrame  # ITEM_SCHEMA; text may be empty
    queries: pl.DataFrame  # QUERY_SCHEMA
    events: pl.DataFrame  # EVENT_SCHEMA
    repairs: tuple[Repair, ...] = field(default=())
