from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gensr_dist.data.events import EventLog
from gensr_dist.data.preparation.filtering import keep_active
from gensr_dist.errors import InputError


def naive_core(rows: list[tuple], minimum: int, both: bool) -> list[tuple]:
    """Remove one offender at a time until none is left."""
    while True:
        interactions = {(u, i, t) for u, i, _, t, _, positive in rows if positive}
        user_count = Counter(u for u, _, _ in interactions)
        item_count = Counter(i for _, i, _ in interactions)
        behaviours = {u: {b for v, _, b, *_ in rows if v == u} for u in {row[0] for row in rows}}
        bad_users = {u for u in behaviours if user_count[u] < minimum or (both and behaviours[u] != {0, 1})}
        bad_items = {row[1] for row in rows if item_count[row[1]] < minimum}
        if bad_users:
            bad_items = set()
            bad_users = {min(bad_users)}
        elif bad_items:
            bad_items = {min(bad_items)}
        else:
            return rows
        rows = [row for row in rows if row[0] not in bad_users and row[1] not in bad_items]


def named(log: EventLog) -> list[tuple]:
    """Events by raw ids and texts, so that two numberings compare."""
    users, items, queries = log.users["user_id"], log.items["item_id"], log.queries["text"]
    return [
        (users[u], items[i], b, t, queries[q] if q >= 0 else None, positive)
        for u, i, b, t, q, positive in log.events.iter_rows()
    ]


@settings(max_examples=40)
@given(seed=st.integers(0, 10_000), minimum=st.integers(1, 4), both=st.booleans(), events=st.integers(5, 80))
@example(seed=2263, minimum=1, both=False, events=5)  # none of which is positive
def test_keeps_what_one_at_a_time_removal_keeps(
    make_log: Callable[..., EventLog], seed: int, minimum: int, both: bool, events: int
) -> None:
    log = make_log(users=8, items=9, events=events, seed=seed)
    expected = naive_core(named(log), minimum, both)
    if not expected:
        problem = r"data\.min_interactions" if log.events["positive"].any() else "no event of the log is positive"
        with pytest.raises(InputError, match=problem):
            keep_active(log, min_interactions=minimum, both_behaviours=both)
        return
    kept = keep_active(log, min_interactions=minimum, both_behaviours=both)
    assert named(kept) == expected
    assert kept.users["user_id"].is_sorted()
    assert set(kept.events["user"]) == set(range(kept.users.height))
    assert set(kept.events["item"]) == set(range(kept.items.height))
    assert set(kept.events["query"]) - {-1} == set(range(kept.queries.height))
    dropped = {repair.what.split(":")[0]: repair.count for repair in kept.repairs}
    assert dropped.get("users dropped", 0) == log.users.height - kept.users.height
    assert dropped.get("items dropped", 0) == log.items.height - kept.items.height
    assert dropped.get("events dropped with their user or item", 0) == log.events.height - kept.events.height


def test_twins_count_once(make_rows_log: Callable[..., EventLog]) -> None:
    twins = [(0, 0, 0, 5, -1, True), (0, 0, 1, 5, 0, True)]
    with pytest.raises(InputError, match="no user"):
        keep_active(make_rows_log(twins, 1, 1), min_interactions=2, both_behaviours=True)
    assert keep_active(make_rows_log(twins, 1, 1), min_interactions=1, both_behaviours=True).events.height == 2


def test_what_is_said_of_a_log_that_leaves_nothing_fits_it(make_rows_log: Callable[..., EventLog]) -> None:
    shown = make_rows_log([(0, 0, 0, 5, -1, False), (0, 0, 1, 6, 0, False)], 1, 1)
    with pytest.raises(InputError, match="data: no event of the log is positive; mark what"):
        keep_active(shown, min_interactions=1, both_behaviours=False)
    once = make_rows_log([(0, 0, 0, 5, -1, True)], 1, 1)
    with pytest.raises(InputError, match=r"as many; set data\.both_behaviours to false, or bring a larger log"):
        keep_active(once, min_interactions=1, both_behaviours=True)
    with pytest.raises(InputError, match=r"as many; lower data\.min_interactions, or bring a larger log"):
        keep_active(once, min_interactions=2, both_behaviours=False)
