"""Every user's events in order, as flat arrays.

Dimensions: N events, V users.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import DTypeLike
from typing_extensions import Self

COLUMNS: dict[str, DTypeLike] = {  # of an event, as `Timelines` says
    "item_N": np.uint32,
    "time_N": np.int64,
    "query_N": np.int32,
    "behaviour_N": np.uint8,
    "positive_N": np.bool_,
    "split_N": np.uint8,
}


@dataclass(frozen=True)
class Timelines:
    """All events, sorted by user, then time, then first appearance; twin events lie side by side."""

    user_start_V: np.ndarray  # int64 [V + 1]: events of user v are user_start_V[v]:user_start_V[v + 1]
    item_N: np.ndarray  # uint32
    time_N: np.ndarray  # int64, milliseconds
    query_N: np.ndarray  # int32, row of the queries, -1 for none
    behaviour_N: np.ndarray  # uint8, Behaviour
    positive_N: np.ndarray  # bool
    split_N: np.ndarray  # uint8, Split

    @property
    def users(self) -> int:
        """Number of users, those without events included."""
        return len(self.user_start_V) - 1

    @property
    def user_N(self) -> np.ndarray:
        """User of each event, int64 [N]; computed each time, as it would take more memory than the items."""
        return np.repeat(np.arange(self.users), np.diff(self.user_start_V))

    def user_of(self, event_R: np.ndarray) -> np.ndarray:
        """User of some events, int64 [R]; needs no array of all events' users."""
        return np.searchsorted(self.user_start_V, event_R, side="right") - 1

    @classmethod
    def empty(cls, users: int, events: int) -> Self:
        """Arrays to be filled: of the starts all zero, of the events whatever the memory held."""
        columns = {name: np.empty(events, dtype) for name, dtype in COLUMNS.items()}
        return cls(user_start_V=np.zeros(users + 1, dtype=np.int64), **columns)

    def of_users(self, first: int, end: int) -> Self:
        """Users `first:end` alone, their events counted from the first of them."""
        start, stop = self.user_start_V[[first, end]].tolist()
        columns = {name: getattr(self, name)[start:stop] for name in COLUMNS}
        return type(self)(user_start_V=self.user_start_V[first : end + 1] - start, **columns)


def build_timelines(users: int, events: pl.DataFrame) -> Timelines:
    """Sort the events of users 0 to `users - 1`.

    Args:
        users: how many there are, those without events included.
        events: EVENT_SCHEMA with the column `split` that `assign_splits` adds.
    """
    twin = ["user", "time", "item"]
    events = (
        events.with_row_index("row")
        .with_columns(first=pl.col("row").min().over(twin))
        .sort("user", "time", "first", "row")
    )
    count_V = np.bincount(events["user"].to_numpy(), minlength=users)
    return Timelines(
        user_start_V=np.concatenate([[0], np.cumsum(count_V)]).astype(np.int64),
        **{name: events[name.removesuffix("_N")].to_numpy().astype(dtype) for name, dtype in COLUMNS.items()},
    )
