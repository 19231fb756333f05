"""Property tests on random logs: nothing of a later split, and nothing simultaneous, reaches a history or the graph."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from gensr_dist.data.config import DataConfig
from gensr_dist.data.events import Behaviour, EventLog
from gensr_dist.data.negatives.sampling import SeenPairs, sample_unseen
from gensr_dist.data.preparation.splitting import assign_splits, find_moments
from gensr_dist.data.sources.times import DAY_MS
from gensr_dist.data.timelines.histories import Histories
from gensr_dist.data.timelines.rows import training_rows
from gensr_dist.data.timelines.splits import Split
from gensr_dist.data.timelines.timelines import Timelines, build_timelines
from gensr_dist.graph.edges import Edges

USERS, ITEMS = 4, 8

events = st.tuples(
    st.integers(0, USERS - 1),
    st.integers(0, ITEMS - 1),
    st.integers(0, 1),
    st.integers(0, 7).map(lambda half: half * DAY_MS // 2),
    st.just(-1),
    st.booleans(),
)


@st.composite
def event_lists(draw: st.DrawFn) -> list[tuple]:
    """Few users, items and moments, so that ties, repeats and twins abound."""
    rows = draw(st.lists(events, min_size=1, max_size=40, unique_by=lambda row: row[:4]))
    twins = [(u, i, 1 - b, t, q, p) for u, i, b, t, q, p in draw(st.lists(st.sampled_from(rows), max_size=6))]
    return list({row[:4]: row for row in [*rows, *twins]}.values())


def timelines_of(log: EventLog, method: str) -> Timelines:
    days = {time // DAY_MS for time in log.events["time"]}
    assume(log.events["positive"].any())
    assume(method != "days" or len(days) >= 3)
    return build_timelines(
        log.users.height,
        assign_splits(log.events, find_moments(log.events, DataConfig(split=method, valid_share=0.2, test_share=0.2))),
    )


def raw_history(timelines: Timelines, event: int) -> list[tuple[int, int, int, set[int]]]:
    """(item, time, code, splits) of the strictly earlier interactions, by the definition."""
    user = timelines.user_N[event]
    merged: dict[tuple[int, int], list] = {}
    for other in np.flatnonzero((timelines.user_N == user) & timelines.positive_N):
        if timelines.time_N[other] < timelines.time_N[event]:
            entry = merged.setdefault((int(timelines.time_N[other]), int(timelines.item_N[other])), [0, set()])
            entry[0] |= 1 << int(timelines.behaviour_N[other])
            entry[1].add(int(timelines.split_N[other]))
    return [(item, time, code, splits) for (time, item), (code, splits) in merged.items()]


@pytest.mark.parametrize("method", ["days", "leave_one_out", "time"])
@settings(max_examples=60)
@given(rows=event_lists())
def test_histories_hold_strictly_earlier_interactions_only(
    make_rows_log: Callable[..., EventLog], method: str, rows: list[tuple]
) -> None:
    timelines = timelines_of(make_rows_log(rows, USERS, ITEMS), method)
    histories = Histories.from_timelines(timelines)
    count = len(timelines.item_N)
    item_NL, behaviour_NL = histories.gather(timelines.user_N, histories.end_of_event_N, count)
    training = set(training_rows(timelines).tolist())
    for event in range(count):
        expected = raw_history(timelines, event)
        length = int((item_NL[event] >= 0).sum())
        assert item_NL[event, :length].tolist() == [item for item, *_ in expected]
        assert behaviour_NL[event, :length].tolist() == [code for _, _, code, _ in expected]
        assert (item_NL[event, length:] == -1).all()
        assert (behaviour_NL[event, length:] == 0).all()
        if event in training:
            assert all(splits == {Split.TRAIN} for *_, splits in expected)


@pytest.mark.parametrize("method", ["days", "leave_one_out", "time"])
@settings(max_examples=40)
@given(rows=event_lists())
def test_twins_share_their_split_and_never_see_each_other(
    make_rows_log: Callable[..., EventLog], method: str, rows: list[tuple]
) -> None:
    timelines = timelines_of(make_rows_log(rows, USERS, ITEMS), method)
    histories = Histories.from_timelines(timelines)
    keys = list(zip(timelines.user_N.tolist(), timelines.time_N.tolist(), timelines.item_N.tolist(), strict=True))
    for event in range(1, len(keys)):
        if keys[event] in keys[:event]:
            assert keys[event] == keys[event - 1], "twins lie side by side"
            assert histories.end_of_event_N[event] == histories.end_of_event_N[event - 1]
            if timelines.positive_N[event] and timelines.positive_N[event - 1]:
                assert timelines.split_N[event] == timelines.split_N[event - 1]


@pytest.mark.parametrize("method", ["days", "leave_one_out", "time"])
@settings(max_examples=40)
@given(rows=event_lists())
def test_the_graph_holds_recommendation_training_events_only(
    make_rows_log: Callable[..., EventLog], method: str, rows: list[tuple]
) -> None:
    timelines = timelines_of(make_rows_log(rows, USERS, ITEMS), method)
    allowed = {
        (int(timelines.user_N[event]), int(timelines.item_N[event]))
        for event in range(len(timelines.item_N))
        if timelines.positive_N[event]
        and timelines.split_N[event] == Split.TRAIN
        and timelines.behaviour_N[event] == Behaviour.RECOMMENDATION
    }
    edges = Edges.of_recommendations(timelines, Split.TRAIN, users=USERS, items=ITEMS)
    assert set(zip(edges.user_Z.tolist(), edges.item_Z.tolist(), strict=True)) == allowed


@settings(max_examples=60)
@given(rows=event_lists(), count=st.integers(1, 4), seed=st.integers(0, 2**40))
def test_negatives_are_unmet_distinct_and_independent_of_the_batch(
    make_rows_log: Callable[..., EventLog], rows: list[tuple], count: int, seed: int
) -> None:
    timelines = timelines_of(make_rows_log(rows, USERS, ITEMS), "time")
    seen = SeenPairs.from_timelines(timelines, ITEMS)
    pairs = set(zip(timelines.user_N.tolist(), timelines.item_N.tolist(), strict=True))
    row_R = np.arange(3 * USERS)
    user_R = row_R % USERS
    room = ITEMS - max(len({item for user, item in pairs if user == one}) for one in range(USERS))
    assume(room >= count)
    item_RC = sample_unseen(seen, user_R, count, key=(seed, 1, row_R))
    assert item_RC.dtype == np.uint32
    assert item_RC.shape == (len(row_R), count)
    for user, drawn in zip(user_R.tolist(), item_RC.tolist(), strict=True):
        assert len(set(drawn)) == count
        assert not {(user, item) for item in drawn} & pairs
        assert max(drawn) < ITEMS
    chosen = np.array([5, 2, 9])
    again = sample_unseen(seen, user_R[chosen], count, key=(seed, 1, row_R[chosen]))
    assert np.array_equal(again, item_RC[chosen])
