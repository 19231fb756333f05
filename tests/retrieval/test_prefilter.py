"""Candidates of the prefilter: against brute force, seen items, new users, short catalogues."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gensr_dist.data.timelines.histories import Histories
from gensr_dist.data.timelines.timelines import Timelines
from gensr_dist.errors import InputError
from gensr_dist.retrieval.config import RetrievalConfig
from gensr_dist.retrieval.index import CatalogueIndex, write_index
from gensr_dist.retrieval.prefilter import Prefilter

ITEMS, USERS, EVENTS, VOCABULARY = 120, 12, 15, 60
NEW, SILENT = 10, 11  # users without CF vector; the second has no events either


def store_of(user_N, item_N, items=ITEMS, users=USERS):
    """A log of positive training events as one window."""
    order = np.argsort(user_N, kind="stable")
    timelines = Timelines(
        user_start_V=np.searchsorted(user_N[order], np.arange(users + 1)),
        item_N=item_N[order].astype(np.uint32),
        time_N=np.arange(len(user_N)),
        query_N=np.full(len(user_N), -1, dtype=np.int32),
        behaviour_N=np.zeros(len(user_N), dtype=np.uint8),
        positive_N=np.ones(len(user_N), dtype=bool),
        split_N=np.zeros(len(user_N), dtype=np.uint8),
    )
    histories = Histories.from_timelines(timelines)
    return SimpleNamespace(
        items=items,
        histories=histories,
        gather_histories=histories.gather,
        history_span=lambda user_G: (histories.user_start_V[user_G], histories.end_of_user_V[user_G]),
    )


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    rng = np.random.default_rng(0)
    item_IE = rng.normal(size=(ITEMS, 8)).astype(np.float32)
    item_IE[:5] = 0
    user_VE = rng.normal(size=(USERS, 8)).astype(np.float32)
    user_VE[[NEW, SILENT]] = 0
    title_IT = rng.integers(3, VOCABULARY, (ITEMS, 5)).astype(np.int32)
    token_VD = rng.normal(size=(VOCABULARY, 16)).astype(np.float32)
    folder = tmp_path_factory.mktemp("index") / "index"
    write_index(folder, item_IE, user_VE, title_IT, token_VD, RetrievalConfig(), 0)
    item_N = rng.integers(0, ITEMS, (USERS - 1) * EVENTS)
    store = store_of(np.repeat(np.arange(USERS - 1), EVENTS), item_N)
    return SimpleNamespace(
        index=CatalogueIndex.open(folder),
        store=store,
        item_IE=item_IE,
        user_VE=user_VE,
        popularity_I=np.bincount(item_N, minlength=ITEMS).astype(np.uint32),
        title_IT=title_IT,
    )


def prefilter(world, exclude_seen=True):
    return Prefilter(
        world.index, world.store, world.item_IE, world.user_VE, world.popularity_I, exclude_seen=exclude_seen
    )


def moments(world, seed=1):
    """Every user at a random moment of the timeline."""
    histories = world.store.histories
    user_G = np.arange(USERS)
    start_G, end_G = histories.user_start_V[:-1], histories.end_of_user_V
    return user_G, np.random.default_rng(seed).integers(start_G, end_G + 1)


def brute_force(world, user, end, k, exclude_seen):
    """Recommendation candidates by the definition, one user at a time."""
    history = world.store.histories.item_M[world.store.histories.user_start_V[user] : end].astype(int)
    parts = [world.user_VE[user], world.item_IE[history[-3:]].sum(axis=0)]
    vector = sum((part / np.linalg.norm(part) for part in parts if part.any()), np.zeros(8))
    counts = world.popularity_I.astype(int)
    seen = set(history) if exclude_seen else set()
    proposals = []
    if vector.any():
        proposals = [i for i in np.argsort(-(world.item_IE @ vector)) if world.item_IE[i].any() and i not in seen]
    proposals += [i for i in np.argsort(-counts, kind="stable") if i not in seen]
    return list(dict.fromkeys(int(i) for i in proposals))[:k]


@pytest.mark.parametrize("exclude_seen", [True, False])
@pytest.mark.parametrize("k", [1, 20, 118, 500])
def test_recommendations_equal_brute_force(world, exclude_seen, k):
    user_G, end_G = moments(world)
    found_GK = prefilter(world, exclude_seen).recommendations(user_G, end_G, k)
    for user, end, found in zip(user_G, end_G, found_GK, strict=True):
        expected = brute_force(world, user, end, k, exclude_seen)
        assert found[: len(expected)].tolist() == expected
        assert (found[len(expected) :] == -1).all()


def test_a_user_without_events_gets_popular_items(world):
    user_G = np.array([SILENT])
    found = prefilter(world).recommendations(user_G, world.store.histories.end_of_user_V[user_G], 10)[0]
    counts = world.popularity_I.astype(int)
    assert counts[found].tolist() == sorted(counts, reverse=True)[:10]


@pytest.mark.parametrize("exclude_seen", [True, False])
def test_search_mixes_text_and_taste_without_repeats(world, exclude_seen):
    user_G, end_G = moments(world)
    query_GQ = world.title_IT[user_G + 40, :3].astype(np.int64)
    k = 24
    found_GK = prefilter(world, exclude_seen).search(user_G, end_G, query_GQ, k)
    text_GI = world.index.nearest_text(query_GQ, ITEMS)
    histories = world.store.histories
    for group in range(USERS):
        found = found_GK[group].tolist()
        assert -1 not in found
        assert len(set(found)) == k
        seen = set(histories.item_M[histories.user_start_V[group] : end_G[group]].tolist()) if exclude_seen else set()
        assert not seen & set(found)
        nearest = [item for item in text_GI[group].tolist() if item not in seen][: k // 2]
        assert set(nearest) <= set(found)
    taste_GK = prefilter(world, exclude_seen).recommendations(user_G, end_G, 3)
    assert all(taste_GK[user][0] in found_GK[user] for user in range(NEW))


def test_search_with_unknown_tokens_only_is_answered_from_taste(world):
    user_G, end_G = moments(world)
    query_GQ = np.tile([2, 2, 0, 0], (USERS, 1))
    np.testing.assert_array_equal(
        prefilter(world).search(user_G, end_G, query_GQ, 15), prefilter(world).recommendations(user_G, end_G, 15)
    )


def test_results_do_not_depend_on_the_other_groups(world):
    user_G, end_G = moments(world)
    query_GQ = world.title_IT[user_G + 40, :3].astype(np.int64)
    chosen = prefilter(world)
    rec_GK, src_GK = chosen.recommendations(user_G, end_G, 20), chosen.search(user_G, end_G, query_GQ, 20)
    for group in range(USERS):
        one = slice(group, group + 1)
        np.testing.assert_array_equal(chosen.recommendations(user_G[one], end_G[one], 20), rec_GK[one])
        np.testing.assert_array_equal(chosen.search(user_G[one], end_G[one], query_GQ[one], 20), src_GK[one])


def test_without_seen_is_the_rest_of_the_catalogue(world):
    user_G, end_G = moments(world)
    histories = world.store.histories
    for group, row in enumerate(prefilter(world).without_seen(user_G, end_G)):
        seen = set(histories.item_M[histories.user_start_V[group] : end_G[group]].tolist())
        assert row[row >= 0].tolist() == [item for item in range(ITEMS) if item not in seen]
        assert (row[ITEMS - len(seen) :] == -1).all()
    assert (prefilter(world, False).without_seen(user_G, end_G) == np.arange(ITEMS)).all()


@settings(max_examples=40)
@given(seed=st.integers(0, 2**16), k=st.integers(1, 150), exclude_seen=st.booleans())
def test_never_repeats_padding_inside_or_seen_items(world, seed, k, exclude_seen):
    user_G, end_G = moments(world, seed)
    query_GQ = np.random.default_rng(seed).integers(0, VOCABULARY, (USERS, 4))
    chosen = prefilter(world, exclude_seen)
    histories = world.store.histories
    for found_GK in (
        chosen.recommendations(user_G, end_G, k),
        chosen.search(user_G, end_G, query_GQ, k),
    ):
        for group, found in enumerate(found_GK):
            real = found[found >= 0]
            assert (found[: len(real)] == real).all()
            assert len(set(real.tolist())) == len(real)
            seen = (
                set(histories.item_M[histories.user_start_V[group] : end_G[group]].tolist()) if exclude_seen else set()
            )
            assert not seen & set(real.tolist())
            assert len(real) == min(k, ITEMS - len(seen))


def test_an_index_of_another_catalogue_is_an_input_error(world):
    other = SimpleNamespace(**{**vars(world.store), "items": ITEMS + 1})
    with pytest.raises(InputError, match="made for 120 items, the shards hold 121"):
        Prefilter(world.index, other, world.item_IE, world.user_VE, world.popularity_I, exclude_seen=True)
