"""Every user's events in order, as flat arrays.

Dimensions: N events, V users.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl
from typing_extensions import Self


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
        """User of each event, int64 [N]; computed anew each time, as it would take more memory than the items."""
        return np.repeat(np.arange(self.users), np.diff(self.user_start_V))

    def user_of(self, event_R: np.ndarray) -> np.ndarray:
        """User of some events, int64 [R]; needs no array of all events' users."""
        return np.searchsorted(self.user_start_V, event_R, side="right") - 1

    def of_users(self, first: int, end: int) -> Self:
        """Users `first:end` alone, their events counted from the first of them."""
        start, stop = self.user_start_V[[first, end]].tolist()
        return type(self)(
            user_start_V=self.user_start_V[first : end + 1] - start,
            item_N=self.item_N[start:stop],
            time_N=self.time_N[start:stop],
            query_N=self.query_N[start:stop],
            behaviour_N=self.behaviour_N[start:stop],
            positive_N=self.positive_N[start:stop],
            split_N=self.split_N[start:stop],
        )


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
        item_N=events["item"].to_numpy().astype(np.uint32),
        time_N=events["time"].to_numpy().astype(np.int64),
        query_N=events["query"].to_numpy().astype(np.int32),
        behaviour_N=events["behaviour"].to_numpy().astype(np.uint8),
        positive_N=events["positive"].to_numpy().astype(bool),
        split_N=events["split"].to_numpy().astype(np.uint8),
    )
