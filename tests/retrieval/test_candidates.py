"""Candidates of the prefilter: against a plain fusion, seen items, new users, short catalogues."""

from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gensr_dist.baselines.sparse_vectors import counted
from gensr_dist.data.timelines.histories import Histories
from gensr_dist.data.timelines.timelines import Timelines
from gensr_dist.errors import InputError
from gensr_dist.retrieval.channels.contract import Requests
from gensr_dist.retrieval.channels.sources import ChannelSources
from gensr_dist.retrieval.channels.words import query_words
from gensr_dist.retrieval.config import RetrievalConfig
from gensr_dist.retrieval.fusion import RANK
from gensr_dist.retrieval.index import CatalogueIndex, write_index
from gensr_dist.retrieval.prefilter import RECOMMENDATION, SEARCH, Prefilter

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
    user_N, item_N = np.repeat(np.arange(USERS - 1), EVENTS), rng.integers(0, ITEMS, (USERS - 1) * EVENTS)
    sources = ChannelSources.from_texts(
        pl.Series([text_of(title_T) for title_T in title_IT]),
        pl.Series([text_of(title_T[:3]) for title_T in title_IT]),
        user_M=user_N,
        item_M=item_N,
        found_IQ=counted(item_N, rng.permutation(item_N), (ITEMS, ITEMS)),
    )
    folder = tmp_path_factory.mktemp("index") / "index"
    write_index(folder, item_IE, user_VE, title_IT, token_VD, sources, RetrievalConfig(), 0)
    return SimpleNamespace(
        index=CatalogueIndex.open(folder),
        store=store_of(user_N, item_N),
        item_IE=item_IE,
        user_VE=user_VE,
        popularity_I=np.bincount(item_N, minlength=ITEMS).astype(np.uint32),
        title_IT=title_IT,
    )


def text_of(token_T):
    return " ".join(f"w{token}" for token in token_T.tolist())


def queries_of(world, user_G):
    """Queries of three title words, as tokens and as texts."""
    query_GQ = world.title_IT[user_G + 40, :3].astype(np.int64)
    return query_GQ, [text_of(query_Q) for query_Q in query_GQ]


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


def seen_of(world, group, end_G, exclude_seen=True):
    histories = world.store.histories
    return set(histories.item_M[histories.user_start_V[group] : end_G[group]].tolist()) if exclude_seen else set()


def fused(orders, weights):
    gain = {}
    for order, weight in zip(orders, weights, strict=True):
        for rank, item in enumerate(order, 1):
            gain[item] = gain.get(item, 0) + weight / (RANK + rank)
    return sorted(gain, key=lambda item: (-gain[item], item))


def order_of(channel, requests, seen):
    return [item for item in channel.propose(requests, ITEMS).item_GK[0].tolist() if item >= 0 and item not in seen]


def requests_of(world, user, end, text=None, query_GQ=None):
    words = None if text is None else query_words([text], world.index.arrays.hash_W)
    item_GL, _ = world.store.gather_histories(np.array([user]), np.array([end]), 20)
    return Requests(user_G=np.array([user]), item_GL=item_GL, word_GW=words, token_GQ=query_GQ)


def plain_recommendations(world, chosen, user, end, seen):
    requests = requests_of(world, user, end)
    orders = [order_of(chosen.recommending[name], requests, seen) for name in RECOMMENDATION]
    popular = [i for i in np.argsort(-world.popularity_I.astype(int), kind="stable").tolist() if i not in seen]
    return list(dict.fromkeys(fused(orders, RECOMMENDATION.values()) + popular))


@pytest.mark.parametrize("exclude_seen", [True, False])
@pytest.mark.parametrize("k", [1, 20, 118, 500])
def test_recommendations_equal_a_plain_fusion_of_channels(world, exclude_seen, k):
    user_G, end_G = moments(world)
    chosen = prefilter(world, exclude_seen)
    found_GK = chosen.recommendations(user_G, end_G, k)
    for user, end, found in zip(user_G, end_G, found_GK, strict=True):
        expected = plain_recommendations(world, chosen, user, end, seen_of(world, user, end_G, exclude_seen))[:k]
        assert found[: len(expected)].tolist() == expected
        assert (found[len(expected) :] == -1).all()


@pytest.mark.parametrize("exclude_seen", [True, False])
@pytest.mark.parametrize("k", [1, 24, 118, 500])
def test_search_equals_a_plain_fusion_of_channels(world, exclude_seen, k):
    user_G, end_G = moments(world)
    query_GQ, texts = queries_of(world, user_G)
    chosen = prefilter(world, exclude_seen)
    found_GK = chosen.search(user_G, end_G, query_GQ, texts, k)
    for user, end, text, found in zip(user_G, end_G, texts, found_GK, strict=True):
        seen = seen_of(world, user, end_G, exclude_seen)
        requests = requests_of(world, user, end, text, query_GQ[[user]])
        orders = [order_of(chosen.searching[name], requests, seen) for name in SEARCH]
        expected = fused(orders, SEARCH.values()) + plain_recommendations(world, chosen, user, end, seen)
        expected = list(dict.fromkeys(expected))[:k]
        assert found[: len(expected)].tolist() == expected
        assert (found[len(expected) :] == -1).all()


def test_every_channel_proposes_unseen_distinct_items(world):
    user_G, end_G = moments(world)
    query_GQ, texts = queries_of(world, user_G)
    chosen = prefilter(world)
    recommended, _ = chosen.recommendations_by_channel(user_G, end_G, 9, tuple(chosen.recommending))
    searched, _ = chosen.search_by_channel(user_G, end_G, query_GQ, texts, 9, tuple(chosen.searching))
    assert set(recommended) == set(chosen.recommending)
    assert set(searched) == set(chosen.searching)
    for found_GD in [*recommended.values(), *searched.values()]:
        for group, found in enumerate(found_GD):
            real = found[found >= 0].tolist()
            assert len(set(real)) == len(real)
            assert not seen_of(world, group, end_G) & set(real)
    assert chosen.notes == ()


def test_more_candidates_begin_with_the_fewer_ones(world):
    user_G, end_G = moments(world)
    chosen = prefilter(world)
    many_GK = chosen.recommendations(user_G, end_G, 80)
    np.testing.assert_array_equal(chosen.recommendations(user_G, end_G, 30), many_GK[:, :30])


def test_a_log_without_texts_and_searches_is_answered_and_says_what_is_empty(world, tmp_path):
    no_texts_IT, token_VD = np.zeros((ITEMS, 5), dtype=np.int32), np.ones((VOCABULARY, 4), np.float32)
    sources = ChannelSources.silent(ITEMS)
    write_index(tmp_path / "i", world.item_IE, world.user_VE, no_texts_IT, token_VD, sources, RetrievalConfig(), 0)
    silent = SimpleNamespace(**{**vars(world), "index": CatalogueIndex.open(tmp_path / "i")})
    chosen = prefilter(silent)
    empty = {note.split("'")[1]: note for note in chosen.notes}
    assert set(empty) == {"neighbours", "covisitation", "text", "clicks", "lexical", "semantic"}
    assert empty["lexical"] == "channel 'lexical' is empty: no item text has words"
    user_G, end_G = moments(world)
    query_GQ, texts = queries_of(world, user_G)
    found_GK = chosen.search(user_G, end_G, query_GQ, texts, 20)
    np.testing.assert_array_equal(found_GK, chosen.recommendations(user_G, end_G, 20))
    assert (found_GK >= 0).all()


def test_a_user_without_events_gets_popular_items(world):
    user_G = np.array([SILENT])
    found = prefilter(world).recommendations(user_G, world.store.histories.end_of_user_V[user_G], 10)[0]
    counts = world.popularity_I.astype(int)
    assert counts[found].tolist() == sorted(counts, reverse=True)[:10]


def test_search_with_unknown_words_only_is_answered_from_taste(world):
    user_G, end_G = moments(world)
    query_GQ = np.tile([2, 2, 0, 0], (USERS, 1))
    np.testing.assert_array_equal(
        prefilter(world).search(user_G, end_G, query_GQ, ["zzz"] * USERS, 15),
        prefilter(world).recommendations(user_G, end_G, 15),
    )


def test_results_do_not_depend_on_the_other_groups(world):
    user_G, end_G = moments(world)
    query_GQ, texts = queries_of(world, user_G)
    chosen = prefilter(world)
    rec_GK, src_GK = chosen.recommendations(user_G, end_G, 20), chosen.search(user_G, end_G, query_GQ, texts, 20)
    for group in range(USERS):
        one = slice(group, group + 1)
        np.testing.assert_array_equal(chosen.recommendations(user_G[one], end_G[one], 20), rec_GK[one])
        np.testing.assert_array_equal(
            chosen.search(user_G[one], end_G[one], query_GQ[one], texts[one], 20), src_GK[one]
        )


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
        chosen.search(user_G, end_G, query_GQ, [text_of(query_Q) for query_Q in query_GQ], k),
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
