"""Which users and items take part.

Dimensions: N events, P interactions, V users, I items.
"""

import numpy as np
import polars as pl

from gensr_dist.data.events import EVENT_SCHEMA, EventLog, Repair
from gensr_dist.errors import InputError


def keep_active(log: EventLog, *, min_interactions: int, both_behaviours: bool) -> EventLog:
    """Keep users and items with at least `min_interactions`, repeatedly, until nothing more falls away.

    An interaction is a positive event; twin events (same user, item and time under both behaviours) count once. With
    `both_behaviours` a user must also have a recommendation event and a search event, clicked or not, among the kept
    items. Rows of the kept users, items and queries are numbered anew in their old order.

    Raises:
        InputError: nothing is left.
    """
    user_N, item_N = log.events["user"].to_numpy(), log.events["item"].to_numpy()
    user_behaviour_N = user_N.astype(np.int64) * 2 + log.events["behaviour"].to_numpy()
    interactions = log.events.filter("positive").select("user", "item", "time").unique()
    user_P, item_P = interactions["user"].to_numpy(), interactions["item"].to_numpy()
    users, items = log.users.height, log.items.height

    keep_V, keep_I = np.ones(users, dtype=bool), np.ones(items, dtype=bool)
    while True:
        kept_P = keep_V[user_P] & keep_I[item_P]
        next_V = keep_V & (np.bincount(user_P[kept_P], minlength=users) >= min_interactions)
        next_I = keep_I & (np.bincount(item_P[kept_P], minlength=items) >= min_interactions)
        if both_behaviours:
            kept_N = keep_V[user_N] & keep_I[item_N]
            next_V &= np.bincount(user_behaviour_N[kept_N], minlength=2 * users).reshape(users, 2).all(axis=1)
        if next_V.sum() == keep_V.sum() and next_I.sum() == keep_I.sum():
            break
        keep_V, keep_I = next_V, next_I

    if not keep_V.any() or not keep_I.any():
        both = " and both behaviours" if both_behaviours else ""
        raise InputError(
            "data.min_interactions",
            f"no user of {users} is left with at least {min_interactions} interactions{both}, on items with as many",
            "lower data.min_interactions, set data.both_behaviours to false, or bring a larger log",
        )
    return _renumber(log, keep_V, keep_I, keep_V[user_N] & keep_I[item_N])


def _renumber(log: EventLog, keep_V: np.ndarray, keep_I: np.ndarray, keep_N: np.ndarray) -> EventLog:
    """Drop the rows that are not kept and give the others dense numbers."""
    events = log.events.filter(pl.Series(keep_N))
    query_N = events["query"].to_numpy()
    keep_Q = np.zeros(log.queries.height, dtype=bool)
    keep_Q[query_N[query_N >= 0]] = True
    new_query_N = np.full(query_N.shape, -1, dtype=np.int64)
    new_query_N[query_N >= 0] = (np.cumsum(keep_Q) - 1)[query_N[query_N >= 0]]
    events = events.with_columns(
        user=pl.Series((np.cumsum(keep_V) - 1)[events["user"].to_numpy()]),
        item=pl.Series((np.cumsum(keep_I) - 1)[events["item"].to_numpy()]),
        query=pl.Series(new_query_N),
    ).cast(EVENT_SCHEMA)
    dropped = (
        Repair("users dropped: too few interactions or only one behaviour", int((~keep_V).sum())),
        Repair("items dropped: too few interactions", int((~keep_I).sum())),
        Repair("events dropped with their user or item", int((~keep_N).sum())),
        Repair("queries dropped: no event left", int((~keep_Q).sum())),
    )
    return EventLog(
        users=log.users.filter(pl.Series(keep_V)),
        items=log.items.filter(pl.Series(keep_I)),
        queries=log.queries.filter(pl.Series(keep_Q)),
        events=events,
        repairs=log.repairs + tuple(repair for repair in dropped if repair.count),
    )
