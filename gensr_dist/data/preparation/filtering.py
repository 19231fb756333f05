"""Which users and items take part.

A log may be counted in parts, each with all events of its users: counts add up, and the users and items that stay are
the same however the log was cut.

Dimensions: N events, P interactions, V users, I items, Q queries.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import polars as pl
from typing_extensions import Self

from gensr_dist.data.events import BOTH_BITS, EVENT_SCHEMA, Behaviour, EventLog, Repair
from gensr_dist.errors import InputError


@dataclass(frozen=True)
class Activity:
    """What filtering looks at of some users' events.

    An interaction is a positive event; twin events (same user, item and time under both behaviours) count once.
    """

    user_N: np.ndarray
    item_N: np.ndarray
    bit_N: np.ndarray  # uint8: of its behaviour
    user_P: np.ndarray
    item_P: np.ndarray

    @classmethod
    def of(cls, events: pl.DataFrame) -> Self:
        """Take the columns of EVENT_SCHEMA apart."""
        interactions = events.filter("positive").select("user", "item", "time").unique()
        return cls(
            user_N=events["user"].to_numpy(),
            item_N=events["item"].to_numpy(),
            bit_N=np.left_shift(1, events["behaviour"].to_numpy()).astype(np.uint8),
            user_P=interactions["user"].to_numpy(),
            item_P=interactions["item"].to_numpy(),
        )


@dataclass(frozen=True)
class Core:
    """Users and items that have not fallen away."""

    user_V: np.ndarray  # bool
    item_I: np.ndarray  # bool

    @classmethod
    def all_of(cls, users: int, items: int) -> Self:
        """Nothing has fallen away yet."""
        return cls(np.ones(users, dtype=bool), np.ones(items, dtype=bool))


@dataclass(frozen=True)
class Counts:
    """How active users and items are among those kept."""

    user_V: np.ndarray  # int32 interactions
    item_I: np.ndarray  # int32 interactions
    behaviours_V: np.ndarray  # uint8: bits of the behaviours seen, clicked or not

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(self.user_V + other.user_V, self.item_I + other.item_I, self.behaviours_V | other.behaviours_V)


def count(activity: Activity, core: Core) -> Counts:
    """Count the interactions between kept users and kept items, and the behaviours of users on kept items."""
    kept_P = core.user_V[activity.user_P] & core.item_I[activity.item_P]
    kept_N = core.user_V[activity.user_N] & core.item_I[activity.item_N]
    users, items = len(core.user_V), len(core.item_I)
    behaviours_V = np.zeros(users, dtype=np.uint8)
    for behaviour in Behaviour:
        behaviours_V[activity.user_N[kept_N & (activity.bit_N == behaviour.bit)]] |= behaviour.bit
    return Counts(
        user_V=np.bincount(activity.user_P[kept_P], minlength=users).astype(np.int32),
        item_I=np.bincount(activity.item_P[kept_P], minlength=items).astype(np.int32),
        behaviours_V=behaviours_V,
    )


def k_core(
    users: int, items: int, count_in: Callable[[Core], Counts], *, min_interactions: int, both_behaviours: bool
) -> Core:
    """Let users and items with too little activity fall away until all that are left have enough among themselves.

    Args:
        users: how many there are.
        items: how many there are.
        count_in: `count` of the whole log.
        min_interactions: of each user and each item.
        both_behaviours: whether a user must also have events of both behaviours, clicked or not.

    Raises:
        InputError: nothing is left.
    """
    core = Core.all_of(users, items)
    while True:
        counts = count_in(core)
        user_V = core.user_V & (counts.user_V >= min_interactions)
        if both_behaviours:
            user_V &= counts.behaviours_V == BOTH_BITS
        item_I = core.item_I & (counts.item_I >= min_interactions)
        if core.user_V.all() and core.item_I.all() and not counts.item_I.any():
            raise InputError("data", "no event of the log is positive", "mark what users took, as by a click")
        if not user_V.any() or not item_I.any():
            both = " and both behaviours" if both_behaviours else ""
            lower = "lower data.min_interactions, or " if min_interactions > 1 else ""
            without = "set data.both_behaviours to false, or " if both_behaviours else ""
            raise InputError(
                "data.min_interactions",
                f"no user of {len(user_V)} is left with at least {min_interactions} interactions{both}, on items with "
                "as many",
                f"{lower}{without}bring a larger log",
            )
        if user_V.sum() == core.user_V.sum() and item_I.sum() == core.item_I.sum():
            return core
        core = Core(user_V, item_I)


@dataclass(frozen=True)
class Numbering:
    """Dense numbers for what is core, in the old order."""

    core: Core
    query_Q: np.ndarray  # bool: queries with an event left

    def apply(self, events: pl.DataFrame) -> pl.DataFrame:
        """Keep the events of kept users and items and renumber them; other columns stay as they are."""
        kept_N = self.core.user_V[events["user"].to_numpy()] & self.core.item_I[events["item"].to_numpy()]
        events = events.filter(pl.Series(kept_N))
        query_N = events["query"].to_numpy()
        new_query_Q = np.append(np.cumsum(self.query_Q) - 1, -1)  # -1, for none, takes the last
        return events.with_columns(
            user=pl.Series((np.cumsum(self.core.user_V) - 1)[events["user"].to_numpy()], dtype=EVENT_SCHEMA["user"]),
            item=pl.Series((np.cumsum(self.core.item_I) - 1)[events["item"].to_numpy()], dtype=EVENT_SCHEMA["item"]),
            query=pl.Series(new_query_Q[query_N], dtype=EVENT_SCHEMA["query"]),
        )

    def tables(
        self, users: pl.DataFrame, items: pl.DataFrame, queries: pl.DataFrame
    ) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
        """Rows of the three tables that are kept."""
        return (
            users.filter(pl.Series(self.core.user_V)),
            items.filter(pl.Series(self.core.item_I)),
            queries.filter(pl.Series(self.query_Q)),
        )

    def repairs(self, events_dropped: int) -> tuple[Repair, ...]:
        """What fell away, for the report."""
        dropped = (
            Repair("users dropped: too few interactions or only one behaviour", int((~self.core.user_V).sum())),
            Repair("items dropped: too few interactions", int((~self.core.item_I).sum())),
            Repair("events dropped with their user or item", events_dropped, drops=True),
            Repair("queries dropped: no event left", int((~self.query_Q).sum())),
        )
        return tuple(repair for repair in dropped if repair.count)


def queries_left(events: pl.DataFrame, core: Core, queries: int) -> np.ndarray:
    """Which queries some event of kept users and items still has: bool [queries]."""
    kept_N = core.user_V[events["user"].to_numpy()] & core.item_I[events["item"].to_numpy()]
    query_N = events["query"].to_numpy()
    left_Q = np.zeros(queries, dtype=bool)
    left_Q[query_N[kept_N & (query_N >= 0)]] = True
    return left_Q


def keep_active(log: EventLog, *, min_interactions: int, both_behaviours: bool) -> EventLog:
    """Keep users and items with at least `min_interactions`, repeatedly, until nothing more falls away.

    With `both_behaviours` a user must also have a recommendation event and a search event, clicked or not, among the
    kept items. Rows of the kept users, items and queries are renumbered in their old order.

    Raises:
        InputError: nothing is left.
    """
    activity = Activity.of(log.events)
    core = k_core(
        log.users.height,
        log.items.height,
        partial(count, activity),
        min_interactions=min_interactions,
        both_behaviours=both_behaviours,
    )
    numbering = Numbering(core, queries_left(log.events, core, log.queries.height))
    events = numbering.apply(log.events)
    users, items, queries = numbering.tables(log.users, log.items, log.queries)
    repairs = log.repairs + numbering.repairs(log.events.height - events.height)
    return EventLog(users=users, items=items, queries=queries, events=events, repairs=repairs, read=log.read)
