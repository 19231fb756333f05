"""Requests against plain lists of histories."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gensr_dist.data.events import Behaviour
from gensr_dist.data.items import ItemStore
from gensr_dist.data.shards.store import TimelineStore
from gensr_dist.data.timelines.splits import Split
from gensr_dist.retrieval.requests import NEWEST, Requests

History = list[tuple[int, int]]  # items and behaviours, oldest first


def random_histories(seed: int) -> list[History]:
    """Some empty, some long."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(0, 2 * NEWEST, rng.integers(1, 8)) * (rng.random() < 0.9)
    return [[(int(rng.integers(0, 50)), int(rng.integers(1, 4))) for _ in range(length)] for length in lengths]


def requests_of(histories: list[History], *, search: bool = False) -> Requests:
    flat = [entry for history in histories for entry in history]
    return Requests(
        start_G=np.cumsum([0, *map(len, histories)]),
        item_M=np.array([item for item, _ in flat], dtype=np.int64),
        behaviour_M=np.array([behaviour for _, behaviour in flat], dtype=np.int64),
        texts=tuple(f"query {group}" for group in range(len(histories))) if search else None,
        token_GQ=np.arange(3 * len(histories)).reshape(-1, 3) if search else None,
        allowed_I=np.arange(50) % 2 == 0,
    )


def histories_of(requests: Requests) -> list[History]:
    bounds = zip(requests.start_G[:-1].tolist(), requests.start_G[1:].tolist(), strict=True)
    parts = [slice(start, end) for start, end in bounds]
    return [list(zip(requests.item_M[p].tolist(), requests.behaviour_M[p].tolist(), strict=True)) for p in parts]


@settings(max_examples=50)
@given(seed=st.integers(0, 2**16), length=st.integers(1, 50))
def test_the_newest_interactions_are_the_ends_of_the_histories(seed: int, length: int) -> None:
    histories = random_histories(seed)
    requests = requests_of(histories)
    item_GL, behaviour_GL = requests.newest(length)
    for history, items, behaviours in zip(histories, item_GL.tolist(), behaviour_GL.tolist(), strict=True):
        newest = history[-length:]
        pads = length - len(newest)
        assert items == [item for item, _ in newest] + [-1] * pads
        assert behaviours == [behaviour for _, behaviour in newest] + [0] * pads


@settings(max_examples=30)
@given(seed=st.integers(0, 2**16))
def test_ages_count_from_the_newest_interaction(seed: int) -> None:
    histories = random_histories(seed)
    requests = requests_of(histories)
    for history, items, ages in zip(histories, requests.item_GL.tolist(), requests.age_GL.tolist(), strict=True):
        real = [(item, age) for item, age in zip(items, ages, strict=True) if item >= 0]
        assert real == [(item, age) for age, (item, _) in reversed(list(enumerate(history[::-1][:NEWEST])))]
        assert all(age < 0 for age in ages[len(real) :])
        assert len(items) == NEWEST


@settings(max_examples=50)
@given(seed=st.integers(0, 2**16), search=st.booleans())
def test_groups_can_be_taken_in_any_order_and_more_than_once(seed: int, search: bool) -> None:
    histories = random_histories(seed)
    requests = requests_of(histories, search=search)
    assert histories_of(requests) == histories
    rng = np.random.default_rng(seed)
    group_P = rng.integers(0, len(histories), rng.integers(0, 2 * len(histories)))
    taken = requests.take(group_P)
    assert len(taken) == len(group_P)
    assert histories_of(taken) == [histories[group] for group in group_P.tolist()]
    assert taken.task == requests.task == (Behaviour.SEARCH if search else Behaviour.RECOMMENDATION)
    assert taken.allowed_I is requests.allowed_I
    if search:
        assert taken.texts == tuple(f"query {group}" for group in group_P.tolist())
        assert taken.token_GQ is not None
        assert taken.token_GQ.tolist() == [[3 * g, 3 * g + 1, 3 * g + 2] for g in group_P.tolist()]


@settings(max_examples=30)
@given(seed=st.integers(0, 2**16))
def test_seen_items_are_keys_of_group_and_item(seed: int) -> None:
    histories = random_histories(seed)
    key_S, most = requests_of(histories).seen(50)
    assert key_S.tolist() == [50 * group + item for group, history in enumerate(histories) for item, _ in history]
    assert most == max(map(len, histories))


def test_without_queries_recommendations_are_asked_for() -> None:
    histories = random_histories(3)
    asked = requests_of(histories, search=True)
    plain = asked.without_queries()
    assert asked.task == Behaviour.SEARCH
    assert plain.task == Behaviour.RECOMMENDATION
    assert plain.token_GQ is None
    assert histories_of(plain) == histories
    assert plain.allowed_I is asked.allowed_I


@settings(max_examples=30)
@given(seed=st.integers(0, 2**16))
def test_histories_are_those_of_the_store(small_store: TimelineStore, seed: int) -> None:
    rng = np.random.default_rng(seed)
    user_G = rng.integers(0, small_store.users, rng.integers(1, 9))
    start_G, last_G = small_store.history_span(user_G)
    end_G = rng.integers(start_G, last_G + 1)
    requests = Requests.of_moments(small_store, user_G, end_G)
    item_GL, behaviour_GL = small_store.gather_histories(user_G, end_G, 1_000)
    expected = [
        [(item, behaviour) for item, behaviour in zip(*row, strict=True) if item >= 0]
        for row in zip(item_GL.tolist(), behaviour_GL.tolist(), strict=True)
    ]
    assert histories_of(requests) == expected
    assert [len(history) for history in expected] == (end_G - start_G).tolist()
    assert requests.allowed_I is None


def test_no_history_at_all(small_store: TimelineStore) -> None:
    user_G = np.arange(3)
    requests = Requests.of_moments(small_store, user_G, small_store.history_span(user_G)[0])
    assert histories_of(requests) == [[], [], []]
    assert (requests.item_GL == -1).all()
    assert requests.seen(50)[1] == 0
    assert len(requests.take(np.arange(0))) == 0


@pytest.mark.parametrize("task", list(Behaviour))
def test_rows_ask_what_their_task_is(small_store: TimelineStore, small_items: ItemStore, task: Behaviour) -> None:
    rows = small_store.eval_rows(Split.TEST, task)
    if task == Behaviour.SEARCH:
        rows = dataclasses.replace(rows, query_R=np.where(np.arange(len(rows)) == 1, -1, rows.query_R))
    requests = Requests.of_rows(small_store, small_items, rows)
    assert requests.task == task
    expected = Requests.of_moments(small_store, rows.user_R, rows.history_end_R)
    assert histories_of(requests) == histories_of(expected)
    if task == Behaviour.RECOMMENDATION:
        assert requests.texts is requests.token_GQ is None
        return
    assert requests.texts is not None
    assert requests.token_GQ is not None
    for row, query in enumerate(rows.query_R.tolist()):
        assert requests.texts[row] == (small_items.queries[query] if query >= 0 else "")
        expected_Q = small_items.query_QT[query] if query >= 0 else np.zeros(4)
        np.testing.assert_array_equal(requests.token_GQ[row], expected_Q)
    assert requests.texts[1] == ""
    assert requests.texts[0] != ""
