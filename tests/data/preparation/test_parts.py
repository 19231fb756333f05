"""What is counted in parts and added up is what is counted at once."""

import itertools
from collections.abc import Callable

import numpy as np
import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from gensr_dist.data.events import EVENT_SCHEMA, EventLog
from gensr_dist.data.preparation.filtering import (
    Activity,
    Core,
    Counts,
    Numbering,
    count,
    k_core,
    keep_active,
    queries_left,
)


def by_definition(events: pl.DataFrame, minimum: int, both: bool) -> tuple[set[int], set[int]]:
    """Users and items that stay, found one at a time in plain Python."""
    rows = events.rows(named=True)
    users, items = {row["user"] for row in rows}, {row["item"] for row in rows}
    while True:
        left = [row for row in rows if row["user"] in users and row["item"] in items]
        liked = {(row["user"], row["item"], row["time"]) for row in left if row["positive"]}
        bad_users = {
            user
            for user in users
            if sum(u == user for u, _, _ in liked) < minimum
            or (both and {row["behaviour"] for row in left if row["user"] == user} != {0, 1})
        }
        bad_items = {item for item in items if sum(i == item for _, i, _ in liked) < minimum}
        if not bad_users and not bad_items:
            return users, items
        users, items = users - bad_users, items - bad_items


@settings(max_examples=40)
@given(
    seed=st.integers(0, 10_000),
    minimum=st.integers(1, 4),
    both=st.booleans(),
    cuts=st.lists(st.integers(0, 12), max_size=4),
)
def test_filtering_in_parts(seed: int, minimum: int, both: bool, cuts: list[int]) -> None:
    draw = np.random.default_rng(seed)
    size, users, items, queries = 150, 12, 14, 3
    behaviour = draw.integers(0, 2, size)
    events = pl.DataFrame(
        {
            "user": draw.integers(0, users, size),
            "item": draw.integers(0, items, size),
            "behaviour": behaviour,
            "time": draw.integers(0, 6, size),
            "query": np.where(behaviour == 1, draw.integers(0, queries, size), -1),
            "positive": draw.random(size) < 0.6,
        }
    ).cast(dict(EVENT_SCHEMA))
    expected = by_definition(events, minimum, both)
    edges = [0, *sorted(cuts), users]
    parts = [events.filter(pl.col("user").is_between(a, b - 1)) for a, b in itertools.pairwise(edges)]
    if not all(expected):
        return

    def count_in(core: Core) -> Counts:
        counts = Counts(*(np.zeros(n, dtype) for n, dtype in ((users, np.int32), (items, np.int32), (users, np.uint8))))
        for part in parts:
            counts += count(Activity.of(part), core)
        return counts

    core = k_core(users, items, count_in, min_interactions=minimum, both_behaviours=both)
    assert (set(np.flatnonzero(core.user_V)), set(np.flatnonzero(core.item_I))) == expected
    left_Q = np.logical_or.reduce([queries_left(part, core, queries) for part in parts])
    numbering = Numbering(core, left_Q)
    whole = keep_active(
        EventLog(
            users=pl.DataFrame({"user_id": [str(n) for n in range(users)]}),
            items=pl.DataFrame({"item_id": [str(n) for n in range(items)], "text": [""] * items}),
            queries=pl.DataFrame({"text": [str(n) for n in range(queries)]}),
            events=events,
        ),
        min_interactions=minimum,
        both_behaviours=both,
    )
    numbered = pl.concat([numbering.apply(part) for part in parts])
    order = list(EVENT_SCHEMA.names())
    assert numbered.sort(order).equals(whole.events.sort(order))


def test_no_query_at_all(make_rows_log: Callable[..., EventLog]) -> None:
    events = make_rows_log([(0, item, 0, item, -1, True) for item in range(4)], 1, 4).events
    numbered = Numbering(Core.all_of(1, 4), np.zeros(0, dtype=bool)).apply(events)
    assert numbered.equals(events)
