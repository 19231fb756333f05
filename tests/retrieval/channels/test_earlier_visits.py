"""Visits before moments, against a log that ends there."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gensr_dist.data.history_evidence import HistoryEvidence
from gensr_dist.retrieval.channels.earlier_visits import earlier_visits, users_of_items
from gensr_dist.retrieval.channels.item_neighbours import covisitation

ITEMS = 12
Log = tuple[np.ndarray, np.ndarray, np.ndarray]


def random_log(seed: int, events: int, users: int = 6, span: int = 40) -> Log:
    """Users ascending, each one's events in order of time."""
    rng = np.random.default_rng(seed)
    user_M, time_M = rng.integers(0, users, events), rng.integers(0, span, events)
    order_M = np.lexsort((time_M, user_M))
    return user_M[order_M], rng.integers(0, ITEMS, events), time_M[order_M]


@pytest.mark.parametrize("events", [0, 1, 3, 200])
@pytest.mark.parametrize("moments", [1, 4])
def test_each_moment_knows_what_a_log_that_ends_there_does(events: int, moments: int) -> None:
    user_M, item_M, time_M = random_log(events, events)
    found = earlier_visits(user_M, item_M, time_M, users_of_items(user_M, item_M, ITEMS), moments=moments)
    assert found.users_KI.shape == (moments, ITEMS)
    assert found.close_NI.shape == (moments * ITEMS, ITEMS)
    assert (np.diff(found.moment_K) >= 0).all()
    whole = users_of_items(user_M, item_M, ITEMS).sum()
    for number, moment in enumerate(found.moment_K):
        before_M = time_M < moment
        log = user_M[before_M], item_M[before_M]
        close_II = found.close_NI[number * ITEMS : (number + 1) * ITEMS].toarray()
        np.testing.assert_array_equal(close_II, covisitation(*log, ITEMS).toarray())
        np.testing.assert_array_equal(found.users_KI[number], users_of_items(*log, ITEMS))
        assert found.part_K[number] == users_of_items(*log, ITEMS).sum() / max(1, whole)


def test_moments_part_the_events_evenly() -> None:
    user_M, item_M, time_M = random_log(2, 4_000, span=10_000)
    found = earlier_visits(user_M, item_M, time_M, users_of_items(user_M, item_M, ITEMS), moments=7)
    share_K = [(time_M < moment).mean() for moment in found.moment_K]
    np.testing.assert_allclose(share_K, np.arange(1, 8) / 8, atol=0.01)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), events=st.integers(1, 80), moments=st.integers(1, 5))
def test_a_row_is_told_the_same_with_and_without_what_came_after_it(seed: int, events: int, moments: int) -> None:
    """No event at or after a row's own time, its own least of all, has a say in what it is told."""
    user_M, item_M, time_M = random_log(seed, events)
    place = int(np.random.default_rng(seed).integers(0, events))
    users_I = users_of_items(user_M, item_M, ITEMS)
    whole = earlier_visits(user_M, item_M, time_M, users_I, moments=moments)
    told = []
    for kept_M in (np.ones(events, dtype=bool), time_M < time_M[place]):
        user_N, item_N = user_M[kept_M], item_M[kept_M]
        lists = [
            covisitation(user_N[before_N], item_N[before_N], ITEMS)
            for before_N in (time_M[kept_M] < moment for moment in whole.moment_K)
        ]
        known = np.searchsorted(whole.moment_K, time_M[place], side="right") - 1
        told.append(np.zeros((ITEMS, ITEMS)) if known < 0 else lists[known].toarray())
        evidence = HistoryEvidence(
            close_II=covisitation(user_M, item_M, ITEMS),
            text_II=covisitation(user_M, item_M, ITEMS),
            users_I=users_I,
            earlier=whole,
        )
        history_GL, item_GC = np.arange(ITEMS)[:, None], np.tile(np.arange(ITEMS), (ITEMS, 1))
        features_GCF = evidence.features(history_GL, item_GC, np.full(ITEMS, time_M[place]))
        np.testing.assert_allclose(features_GCF[:, :, 2] ** 2, told[-1], atol=1e-6)
    np.testing.assert_array_equal(*told)
