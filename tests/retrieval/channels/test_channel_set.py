"""Each channel against brute force; logs without texts, searches or histories."""

import bm25s
import numpy as np
import polars as pl
import pytest

from gensr_dist.baselines.sparse_vectors import counted
from gensr_dist.retrieval.channels import query_clicks
from gensr_dist.retrieval.channels.contract import Requests
from gensr_dist.retrieval.channels.files import ChannelArrays
from gensr_dist.retrieval.channels.lexical import Lexical
from gensr_dist.retrieval.channels.lightgcn import LightGCNView
from gensr_dist.retrieval.channels.neighbours import COVISITATION, DECAY, POPULARITY, TEXT, Neighbours
from gensr_dist.retrieval.channels.popularity import PopularItems
from gensr_dist.retrieval.channels.query_clicks import QueryClicks
from gensr_dist.retrieval.channels.semantic import SemanticView
from gensr_dist.retrieval.channels.sources import ChannelSources
from gensr_dist.retrieval.channels.words import query_words

ITEMS, USERS, GROUPS = 50, 20, 9
QUERIES = ["w1 w2", "w3", "w2 w3 w4", "W1, w5!", "w9 own", "never asked w7"]


class World:
    def __init__(self, folder):
        rng = np.random.default_rng(0)
        self.item_M = rng.integers(0, ITEMS, 300)
        user_M = np.sort(rng.integers(0, USERS, 300))
        self.texts = [" ".join(f"w{word}" for word in rng.integers(0, 40, 4)) for _ in range(ITEMS)]
        found = (rng.integers(0, ITEMS, 60), rng.integers(0, len(QUERIES) - 1, 60))
        self.found_IQ = counted(*found, (ITEMS, len(QUERIES)))
        self.sources = ChannelSources.from_texts(
            pl.Series(self.texts), pl.Series(QUERIES), user_M=user_M, item_M=self.item_M, found_IQ=self.found_IQ
        )
        ChannelArrays.build(self.sources).save(folder)
        self.arrays = ChannelArrays.open(folder, ITEMS)
        self.popularity_I = np.bincount(self.item_M, minlength=ITEMS)
        self.log_popularity_I = np.log1p(self.popularity_I).astype(np.float32)
        self.mix = Neighbours(
            [(COVISITATION, self.arrays.covisited_II), (TEXT, self.arrays.text_II)], self.log_popularity_I, empty="none"
        )
        history_GL = rng.integers(0, ITEMS, (GROUPS, 6))
        history_GL[0] = -1
        history_GL[1, 2:] = -1
        self.typed = [QUERIES[group % len(QUERIES)] for group in range(GROUPS - 1)] + ["unheard of"]
        self.requests = Requests(
            user_G=np.arange(GROUPS),
            item_GL=history_GL,
            word_GW=query_words(self.typed, self.arrays.hash_W),
            token_GQ=np.arange(GROUPS)[:, None],
        )
        self.dense = COVISITATION * self.arrays.covisited_II.toarray() + TEXT * self.arrays.text_II.toarray()

    def taste(self, group):
        history = [item for item in self.requests.item_GL[group].tolist() if item >= 0]
        return sum((DECAY**age * self.dense[item] for age, item in enumerate(reversed(history))), np.zeros(ITEMS))


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return World(tmp_path_factory.mktemp("channels"))


def check_order(proposals, scores_GI, possible_GI, k):
    """Items fall in the brute-force score, are those of the highest scores, and are all there."""
    for item_K, score_K, score_I, possible_I in zip(
        proposals.item_GK, proposals.score_GK, scores_GI, possible_GI, strict=True
    ):
        count = min(k, int(possible_I.sum()))
        real_K = item_K[:count]
        assert (item_K[count:] == -1).all()
        assert np.isneginf(score_K[count:]).all()
        assert len(set(real_K.tolist())) == count
        assert possible_I[real_K].all()
        np.testing.assert_allclose(score_K[:count], score_I[real_K], rtol=1e-4, atol=1e-5)
        best = np.sort(score_I[possible_I])[::-1][:count]
        np.testing.assert_allclose(score_I[real_K], best, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("k", [3, ITEMS])
def test_neighbours_equal_brute_force(world, k):
    taste_GI = np.stack([world.taste(group) for group in range(GROUPS)])
    scores = taste_GI + POPULARITY * np.log1p(world.popularity_I)
    check_order(world.mix.propose(world.requests, k), scores, taste_GI > 0, k)
    assert not taste_GI[0].any()


def plain_match(world, text):
    """`QueryClicks.match` by its definition, one query at a time."""
    words = [set(query.lower().replace(",", "").replace("!", "").split()) for query in QUERIES]
    found_IQ = world.found_IQ.toarray()
    asked = found_IQ.sum(axis=0) > 0
    holders = {
        word: sum(word in own for own, was in zip(words, asked, strict=True) if was) for word in set.union(*words)
    }
    idf = {word: np.log1p(asked.sum() / count) for word, count in holders.items() if count}

    def unit(own):
        vector = {word: idf[word] for word in own if word in idf}
        length = np.sqrt(sum(value**2 for value in vector.values()))
        return {word: value / length for word, value in vector.items()}

    def dot(one, other):
        return sum(value * other.get(word, 0) for word, value in one.items())

    queries = [unit(own) if was else {} for own, was in zip(words, asked, strict=True)]
    typed = unit(set(text.lower().replace(",", "").replace("!", "").split()))
    likeness = np.array([dot(typed, query) for query in queries]) ** query_clicks.SHARPNESS
    share_QI = found_IQ.T / np.maximum(found_IQ.sum(axis=0), 1)[:, None]
    match = np.zeros(ITEMS)
    for item in range(ITEMS):
        total = {}
        for query, vector in enumerate(queries):
            for word, value in vector.items():
                total[word] = total.get(word, 0) + found_IQ[item, query] * value
        length = np.sqrt(sum(value**2 for value in total.values()))
        match[item] = dot(typed, total) / length if length else 0
    if likeness.any():
        match += query_clicks.CLICKS * likeness / likeness.sum() @ share_QI
    return match


def test_query_clicks_equal_brute_force(world):
    channel = QueryClicks(world.arrays.clicks, world.mix, world.log_popularity_I)
    match_GI = np.stack([plain_match(world, text) for text in world.typed])
    np.testing.assert_allclose(channel.match(world.requests.word_GW).toarray(), match_GI, atol=1e-5)
    scores = scores_inside(world, match_GI, query_clicks.MATCH)
    check_order(channel.propose(world.requests, 7), scores, match_GI > 0, 7)
    assert not match_GI[-1].any()
    assert not match_GI[5].any()  # no training search had these words


def test_lexical_equals_bm25s(world):
    from gensr_dist.retrieval.channels import lexical

    index = bm25s.BM25()
    index.index([text.split() for text in world.texts], show_progress=False)
    known = {word for text in world.texts for word in text.split()}
    match_GI = np.zeros((GROUPS, ITEMS))
    for group, text in enumerate(world.typed):
        words = [word for word in text.lower().replace(",", "").replace("!", "").split() if word in known]
        if words:
            match_GI[group] = index.get_scores(words)
    channel = Lexical(world.arrays.bm25_WI, world.mix, world.log_popularity_I)
    scores = scores_inside(world, match_GI, lexical.MATCH)
    check_order(channel.propose(world.requests, 10), scores, match_GI > 0, 10)
    assert (match_GI > 0).any(axis=1).sum() > GROUPS // 2


def scores_inside(world, match_GI, weight):
    from gensr_dist.retrieval.channels.lexical import TASTE

    best_G1 = match_GI.max(axis=1, keepdims=True)
    taste_GI = np.stack([world.taste(group) for group in range(GROUPS)])
    return weight * match_GI / np.where(best_G1 > 0, best_G1, 1) + TASTE * taste_GI + np.log1p(world.popularity_I)


def test_popular_items_fall_in_popularity(world):
    found = PopularItems(world.popularity_I).propose(world.requests, ITEMS)
    expected = np.argsort(-world.popularity_I, kind="stable")
    assert (found.item_GK == expected).all()
    assert (np.diff(found.score_GK, axis=1) <= 0).all()


def test_lightgcn_and_semantic_views_ask_their_indices(world):
    rng = np.random.default_rng(1)
    item_IE, user_VE = rng.normal(size=(ITEMS, 4)).astype(np.float32), rng.normal(size=(GROUPS, 4)).astype(np.float32)
    asked = []

    def nearest(vector, k):
        asked.append(vector)
        return np.tile(np.arange(k), (len(vector), 1))

    found = LightGCNView(nearest, item_IE, user_VE, ITEMS).propose(world.requests, 5)
    assert (found.item_GK == np.arange(5)).all()
    for group in range(GROUPS):
        history = [item for item in world.requests.item_GL[group].tolist() if item >= 0][-3:]
        newest = item_IE[history].sum(axis=0)
        parts = [part for part in (user_VE[group], newest) if part.any()]
        np.testing.assert_allclose(asked[0][group], sum(part / np.linalg.norm(part) for part in parts), rtol=1e-5)
    semantic = SemanticView(nearest, ITEMS)
    assert (semantic.propose(world.requests, 4).item_GK == np.arange(4)).all()
    assert asked[1] is world.requests.token_GQ


def test_no_channel_of_queries_answers_without_one(world):
    requests = Requests(user_G=world.requests.user_G, item_GL=world.requests.item_GL)
    for channel in (
        QueryClicks(world.arrays.clicks, world.mix, world.log_popularity_I),
        Lexical(world.arrays.bm25_WI, world.mix, world.log_popularity_I),
        SemanticView(lambda token_GQ, k: pytest.fail("it was asked"), ITEMS),
    ):
        assert (channel.propose(requests, 4).item_GK == -1).all()


def test_what_is_proposed_does_not_depend_on_other_groups(world):
    whole = world.requests
    for channel in (
        world.mix,
        QueryClicks(world.arrays.clicks, world.mix, world.log_popularity_I),
        Lexical(world.arrays.bm25_WI, world.mix, world.log_popularity_I),
    ):
        together = channel.propose(whole, 12)
        for group in range(GROUPS):
            one = slice(group, group + 1)
            alone = channel.propose(
                Requests(
                    user_G=whole.user_G[one],
                    item_GL=whole.item_GL[one],
                    word_GW=query_words(world.typed[one], world.arrays.hash_W),
                ),
                12,
            )
            np.testing.assert_array_equal(alone.item_GK, together.item_GK[one])
            np.testing.assert_array_equal(alone.score_GK, together.score_GK[one])


def test_a_silent_log_leaves_channels_empty_and_they_say_so(tmp_path, world):
    ChannelArrays.build(ChannelSources.silent(ITEMS)).save(tmp_path)
    arrays = ChannelArrays.open(tmp_path, ITEMS)
    assert set(arrays.entries().values()) == {0}
    no_popularity_I = np.zeros(ITEMS, dtype=np.float32)
    mix = Neighbours([(1, arrays.covisited_II), (1, arrays.text_II)], no_popularity_I, empty="no neighbours")
    requests = Requests(
        user_G=world.requests.user_G,
        item_GL=world.requests.item_GL,
        word_GW=query_words(world.typed, arrays.hash_W),
    )
    channels = (
        (mix, "no neighbours"),
        (QueryClicks(arrays.clicks, mix, no_popularity_I), "no training search has a query with words"),
        (Lexical(arrays.bm25_WI, mix, no_popularity_I), "no item text has words"),
    )
    for channel, reason in channels:
        assert channel.empty == reason
        assert (channel.propose(requests, 4).item_GK == -1).all()


def test_words_are_looked_up_whatever_case_and_punctuation(world):
    found = query_words(["W1 w1, own!", "", "zzz"], world.arrays.hash_W)
    np.testing.assert_array_equal(np.diff(found.indptr), [2, 0, 0])
    assert query_words(["w1"], np.empty(0, dtype=np.uint64)).shape == (1, 0)
