"""Sessions against their definition in plain Python; draws from them."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gensr_dist.data.events import Behaviour
from gensr_dist.data.negatives.exposures import GAP, Exposures
from gensr_dist.data.timelines.splits import Split
from gensr_dist.data.timelines.timelines import Timelines
from tests.data.negatives.offers import offers_of
from tests.timelines import timelines_of_columns

MINUTE = 60_000
REC, SEARCH = int(Behaviour.RECOMMENDATION), int(Behaviour.SEARCH)

Row = tuple[int, int, int, int, int, bool, int]  # user, minute, item, behaviour, query, positive, split


def timelines_of(rows: list[Row], users: int) -> Timelines:
    rows = sorted(rows, key=lambda row: row[:2])
    user, minute, item, behaviour, query, positive, split = (list(column) for column in zip(*rows, strict=True))
    columns = {"item_N": item, "behaviour_N": behaviour, "query_N": query, "positive_N": positive, "split_N": split}
    return timelines_of_columns(users, user, time_N=np.array(minute) * MINUTE, **columns)


def offers_by_definition(timelines: Timelines, event: int) -> list[int]:
    """What the session of a training event shows beside it, by walking the user's events."""
    user = timelines.user_N[event]
    training = [n for n in np.flatnonzero(timelines.user_N == user) if timelines.split_N[n] == Split.TRAIN]
    alike = [n for n in training if timelines.behaviour_N[n] == timelines.behaviour_N[event]]
    if timelines.behaviour_N[event] == Behaviour.SEARCH:
        moment = (timelines.time_N[event], timelines.query_N[event])
        session = [n for n in alike if (timelines.time_N[n], timelines.query_N[n]) == moment]
    else:
        session = [event]
        for direction in (1, -1):
            at = alike.index(event)
            while 0 <= at + direction < len(alike):
                if abs(timelines.time_N[alike[at + direction]] - timelines.time_N[alike[at]]) > 30 * 60 * 1000:
                    break
                at += direction
                session.append(alike[at])
    liked = {int(timelines.item_N[n]) for n in training if timelines.positive_N[n]}
    return sorted({int(timelines.item_N[n]) for n in session if not timelines.positive_N[n]} - liked)


rows_of_events = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.integers(0, 12).map(lambda tenth: tenth * 10),
        st.integers(0, 14),
        st.integers(0, 1),
        st.integers(0, 1),
        st.booleans(),
        st.sampled_from([0, 0, 0, 0, 0, 1, 2]),
    ).map(lambda row: (*row[:4], row[4] if row[3] == SEARCH else -1, *row[5:])),
    min_size=1,
    max_size=60,
)


@settings(max_examples=150)
@given(rows=rows_of_events)
def test_offers_are_those_of_the_definition(rows: list[Row]) -> None:
    timelines = timelines_of(rows, 4)
    exposures = Exposures.from_timelines(timelines)
    trained = (timelines.split_N == Split.TRAIN) & timelines.positive_N
    for event in range(len(rows)):
        if trained[event]:
            assert offers_of(exposures, event) == offers_by_definition(timelines, event)
        elif timelines.split_N[event] != Split.TRAIN:
            assert not offers_of(exposures, event)
    # Compact: every session that is kept is some positive's, and none but the first is empty.
    used = set(exposures.session_N[trained].tolist()) | {0}
    assert used >= set(range(len(exposures.start_S) - 1))
    assert (np.diff(exposures.start_S)[1:] > 0).all()


def test_gaps_queries_and_clicks() -> None:
    train, test = int(Split.TRAIN), int(Split.TEST)
    rows: list[Row] = [
        (0, 0, 1, REC, -1, True, train),
        (0, 30, 2, REC, -1, False, train),  # exactly 30 minutes later: still the same session
        (0, 31, 7, SEARCH, 0, True, train),
        (0, 31, 8, SEARCH, 1, False, train),  # another query of the same moment
        (0, 31, 9, SEARCH, 0, False, train),
        (0, 31, 1, SEARCH, 0, False, train),  # clicked when it was recommended
        (0, 55, 3, REC, -1, False, train),  # the search in between does not end the session
        (0, 86, 4, REC, -1, False, train),  # 31 minutes: the next session, without a positive
        (0, 90, 2, REC, -1, True, test),  # held out: unknown in training, so 2 is offered all the same
        (0, 100, 5, REC, -1, False, test),
    ]
    timelines = timelines_of(rows, 1)
    exposures = Exposures.from_timelines(timelines)
    assert GAP == 30 * MINUTE
    assert offers_of(exposures, 0) == [2, 3]
    assert offers_of(exposures, 2) == [9]
    assert offers_of(exposures, 7) == []
    assert offers_of(exposures, 8) == []
    assert len(exposures.item_E) == 3


def test_held_out_events_do_not_bridge_a_gap() -> None:
    train, valid = int(Split.TRAIN), int(Split.VALID)
    rows: list[Row] = [
        (0, 0, 1, REC, -1, True, train),
        (0, 20, 2, REC, -1, False, valid),
        (0, 40, 3, REC, -1, False, train),
    ]
    assert offers_of(Exposures.from_timelines(timelines_of(rows, 1)), 0) == []


@settings(max_examples=100)
@given(rows=rows_of_events, count=st.integers(1, 6), seed=st.integers(0, 2**40), data=st.data())
def test_draws_are_distinct_offers_and_independent_of_the_call(
    rows: list[Row], count: int, seed: int, data: st.DataObject
) -> None:
    timelines = timelines_of(rows, 4)
    exposures = Exposures.from_timelines(timelines)
    event_R = np.tile(np.arange(len(rows)), 2)
    row_R = np.arange(len(event_R))
    item_RC = exposures.sample(event_R, count, (seed, 3, row_R))
    assert item_RC.dtype == np.int64
    for event, drawn in zip(event_R.tolist(), item_RC.tolist(), strict=True):
        offered = offers_of(exposures, event)
        size = min(count, len(offered))
        assert len(set(drawn[:size])) == size
        assert set(drawn[:size]) <= set(offered)
        assert drawn[size:] == [-1] * (count - size)
    part = np.array(data.draw(st.lists(st.sampled_from(row_R.tolist()))), dtype=np.int64)
    assert np.array_equal(exposures.sample(event_R[part], count, (seed, 3, row_R[part])), item_RC[part])


@pytest.mark.parametrize("count", [1, 2, 3])
def test_every_subset_of_the_offers_is_equally_likely(count: int) -> None:
    offered = 5
    rows: list[Row] = [(0, 0, 100, REC, -1, True, 0), *((0, 1, item, REC, -1, False, 0) for item in range(offered))]
    exposures = Exposures.from_timelines(timelines_of(rows, 1))
    draws = 30_000
    item_RC = exposures.sample(np.zeros(draws, dtype=np.int64), count, (1, np.arange(draws)))
    seen = Counter(frozenset(row) for row in item_RC.tolist())
    subsets = {1: 5, 2: 10, 3: 10}[count]
    assert len(seen) == subsets
    expected = draws / subsets
    assert sum((number - expected) ** 2 / expected for number in seen.values()) < 33.8  # 9 degrees, p = 1e-4


def test_no_training_event() -> None:
    exposures = Exposures.from_timelines(timelines_of([(0, 0, 1, REC, -1, True, int(Split.TEST))], 1))
    assert exposures.sample(np.zeros(1, dtype=np.int64), 2, (0,)).tolist() == [[-1, -1]]
