"""What like users chose next, against loops over users and interactions."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gensr_dist.retrieval.channels import session_neighbours as module
from gensr_dist.retrieval.channels.session_neighbours import DECAY, LENGTH, NEAR, REACH, SessionNeighbours
from gensr_dist.retrieval.channels.sessions import FILES, Sessions
from gensr_dist.retrieval.requests import Requests
from tests.retrieval.world import check_scores, newest_first, random_world

ITEMS = 30


def events(seed: int, count: int = 150, users: int = 12) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return np.sort(rng.integers(0, users, count)), rng.integers(0, ITEMS, count), rng.integers(0, 20, count)


def sequences(user_M: np.ndarray, item_M: np.ndarray, time_M: np.ndarray) -> dict[int, list[tuple[int, int]]]:
    """(item, time) of each user in order, every item where it was met first."""
    found: dict[int, list[tuple[int, int]]] = {user: [] for user in range(int(user_M.max()) + 1)}
    for user, item, time in zip(user_M.tolist(), item_M.tolist(), time_M.tolist(), strict=True):
        if item not in [other for other, _ in found[user]]:
            found[user].append((item, time))
    return found


def brute(
    users: dict[int, list[tuple[int, int]]], history: list[int], newest: int, neighbours: int, own: int | None
) -> np.ndarray:
    """`history` is newest first."""
    met: dict[int, set[int]] = {}
    for item in range(ITEMS):
        times = [(time, user) for user, own_items in users.items() for other, time in own_items if other == item]
        met[item] = {user for _, user in sorted(times)[max(0, len(times) - newest) :]}
    like, shared = {}, {}
    for user, own_items in users.items():
        if user == own:
            continue
        weights = {
            item: DECAY**age for age, item in reversed(list(enumerate(history))) if user in met[item]
        }  # the newest of a repeated item is written last
        if weights:
            like[user] = sum(weights.values()) / len(own_items) ** LENGTH
            best = max(weights, key=lambda item: weights[item])
            shared[user] = [item for item, _ in own_items].index(best)
    score = np.zeros(ITEMS)
    for user in sorted(like, key=lambda user: (-like[user], user))[:neighbours]:
        for after, (item, _) in enumerate(users[user][shared[user] + 1 :][:REACH], 1):
            score[item] += like[user] * np.exp(-after / NEAR)
    return np.sqrt(score)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**16), newest=st.sampled_from([1, 3, 99]), k=st.sampled_from([1, 7, 40]), known=st.booleans()
)
def test_scores_equal_brute_force(seed: int, newest: int, k: int, known: bool) -> None:
    log = events(seed)
    rng = np.random.default_rng(seed)
    length_G = rng.integers(0, 30, 8)
    length_G[0] = 0
    start_G = np.concatenate([[0], np.cumsum(length_G)])
    allowed_I = rng.random(ITEMS) < 0.7 if seed % 2 else None
    user_G = rng.integers(0, 14, 8) if known else None  # some have no training event
    requests = Requests(
        start_G=start_G,
        item_M=rng.integers(0, ITEMS, start_G[-1]),
        behaviour_M=np.ones(start_G[-1], dtype=np.int64),
        allowed_I=allowed_I,
        user_G=user_G,
    )
    users = sequences(*log)
    expected_GI = np.array(
        [
            brute(users, newest_first(requests, group), newest, 99, None if user_G is None else int(user_G[group]))
            for group in range(8)
        ]
    )
    channel = SessionNeighbours(Sessions.of(*log, ITEMS, newest=newest))
    possible_GI = expected_GI > 0
    if allowed_I is not None:
        possible_GI &= allowed_I
    check_scores(channel.scores(requests), expected_GI, possible_GI, k)
    assert not expected_GI[0].any()
    assert expected_GI.any()


def test_only_the_likest_users_count_and_only_so_far(monkeypatch: pytest.MonkeyPatch) -> None:
    """0 and 1 are like the history in both items, 2 in one of them; 3 has met much else besides."""
    monkeypatch.setattr(module, "REACH", 2)
    rows = [(0, 1), (0, 2), (0, 5), (1, 1), (1, 2), (1, 6), (2, 2), (2, 7), (2, 8), (2, 9)]
    rows += [(3, 2), *((3, item) for item in range(10, 25))]
    user_M, item_M = np.array(rows).T
    sessions = Sessions.of(user_M, item_M, np.zeros(len(rows), dtype=np.int64), ITEMS)
    requests = Requests(start_G=np.array([0, 2]), item_M=np.array([1, 2]), behaviour_M=np.array([1, 1]))

    def proposed(neighbours: int) -> set[int]:
        item_K = SessionNeighbours(sessions, neighbours=neighbours).scores(requests).best(20).item_GK[0]
        return set(item_K[item_K >= 0].tolist())

    assert proposed(1) == {5}
    assert proposed(2) == {5, 6}
    assert proposed(3) == {5, 6, 7, 8}
    assert proposed(4) == {5, 6, 7, 8, 10, 11}


def test_a_known_user_s_own_event_is_never_counted() -> None:
    """A training row asks for the item that its user chose after the history: only others may tell of it."""
    log = (np.array([0, 0, 0, 1, 1]), np.array([1, 2, 3, 2, 4]), np.arange(5))
    channel = SessionNeighbours(Sessions.of(*log, ITEMS))
    history = Requests(start_G=np.array([0, 2]), item_M=np.array([1, 2]), behaviour_M=np.array([1, 1]))
    known = dataclasses.replace(history, user_G=np.array([0]))
    of_I = channel.scores(known).of(np.arange(ITEMS)[None])[0]
    assert np.flatnonzero(of_I).tolist() == [4]
    assert np.flatnonzero(channel.scores(history).of(np.arange(ITEMS)[None])[0]).tolist() == [3, 4]
    taken = known.take(np.array([0, 0]))
    assert taken.user_G is not None
    assert taken.user_G.tolist() == [0, 0]
    assert known.without_queries().user_G is known.user_G


def test_sessions_come_back_and_grow(tmp_path: Path) -> None:
    sessions = Sessions.of(*events(1), ITEMS, newest=2)
    sessions.save(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == set(FILES)
    again = Sessions.open(tmp_path)
    for field in dataclasses.fields(Sessions):
        one, other = getattr(again, field.name), getattr(sessions, field.name)
        np.testing.assert_array_equal(one, other)
        assert one.dtype == other.dtype == np.uint32
    assert np.diff(sessions.met_start_I.astype(int)).max() == 2
    more = again.with_more_items(ITEMS + 3)
    assert more.met_N is again.met_N
    requests = Requests(
        start_G=np.array([0, 3]), item_M=np.array([4, ITEMS + 1, 7]), behaviour_M=np.array([1, 1, 1])
    )  # an added item says nothing
    found = SessionNeighbours(more).scores(requests).of(np.arange(ITEMS + 3)[None])[0]
    assert found.any()
    assert not found[ITEMS:].any()


def test_a_log_without_events_is_empty() -> None:
    channel = random_world(silent=True).channels().recommending["sessions"]
    assert channel.empty == "no user has a training event"
