"""The one schema that every source gives: users, items, queries, events."""

from dataclasses import dataclass, field
from enum import IntEnum

import polars as pl


class Behaviour(IntEnum):
    """What the user was doing when the item came up."""

    RECOMMENDATION = 0
    SEARCH = 1

    @property
    def bit(self) -> int:
        """Its bit in a number that tells of both."""
        return 1 << self


BOTH_BITS = Behaviour.RECOMMENDATION.bit | Behaviour.SEARCH.bit


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
    """Input that was fixed or dropped, and how often."""

    what: str
    count: int
    drops: bool = field(default=False, compare=False)  # each is a row of the events that gave no event


@dataclass(frozen=True)
class EventLog:
    """A validated log. Ids are rows of the three tables; the order of events carries no meaning but breaks ties.

    Construction asserts the schemas, that rows exist in their tables and that nothing is null: a source that gives
    anything else is a bug, whatever its input was.
    """

    users: pl.DataFrame  # USER_SCHEMA
    items: pl.DataFrame  # ITEM_SCHEMA; text may be empty
    queries: pl.DataFrame  # QUERY_SCHEMA
    events: pl.DataFrame  # EVENT_SCHEMA
    repairs: tuple[Repair, ...] = field(default=())
    read: int = 0  # rows of the events that a source read or made: the events here and the repairs that drop one

    def __post_init__(self) -> None:
        """Assert the invariants; one pass over the columns, no copy."""
        tables = ((self.users, USER_SCHEMA), (self.items, ITEM_SCHEMA), (self.queries, QUERY_SCHEMA))
        for table, schema in (*tables, (self.events, EVENT_SCHEMA)):
            assert table.schema == schema, f"expected {schema}, got {table.schema}"
            assert sum(table.null_count().row(0)) == 0, f"nulls in a table of {schema}"
        if self.events.height:
            user, item, query, first_query, time = self.events.select(
                pl.max("user"), pl.max("item"), pl.max("query"), pl.min("query").alias("first"), pl.min("time")
            ).row(0)
            assert user < self.users.height, "a user row beyond the table"
            assert item < self.items.height, "an item row beyond the table"
            assert query < self.queries.height, "a query row beyond the table"
            assert first_query >= -1, "a query row below -1"
            assert time >= 0, "a negative time"
