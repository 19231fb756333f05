"""Search by words: match, taste and popularity together, against dense float64."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

from gensr_dist.data.words import query_words
from gensr_dist.retrieval.channels.lexical import Lexical
from gensr_dist.retrieval.channels.neighbours import Neighbours
from gensr_dist.retrieval.channels.word_search import TASTE, Matcher, WordSearch, scaled_to_best
from tests.retrieval.world import World, check_scores, random_world


def search(world: World, name: str) -> tuple[WordSearch, Matcher, Neighbours]:
    log_popularity_I = np.log1p(world.popularity_I).astype(np.float32)
    matcher: Matcher = world.arrays.clicks if name == "clicks" else Lexical(world.arrays.bm25_WI)
    taste = Neighbours([(1, world.arrays.covisited_II)], log_popularity_I, empty="none")
    return WordSearch(matcher, world.arrays.hash_W, taste, log_popularity_I), matcher, taste


@pytest.mark.parametrize("name", ["clicks", "lexical"])
@settings(max_examples=10)
@given(seed=st.integers(0, 2**16), k=st.sampled_from([1, 7, 200]))
def test_scores_equal_the_formula(name: str, seed: int, k: int) -> None:
    world = random_world(seed, items=60)
    channel, matcher, taste = search(world, name)
    allowed_I = np.random.default_rng(seed).random(60) < 0.7 if seed % 2 else None
    requests = world.requests(seed, search=True, allowed_I=allowed_I)
    assert requests.texts is not None
    match_GI = matcher.match(query_words(requests.texts, world.arrays.hash_W)).toarray().astype(np.float64)
    best_G1 = match_GI.max(axis=1, keepdims=True)
    expected_GI = matcher.weight * match_GI / np.where(best_G1 > 0, best_G1, 1)
    expected_GI += TASTE * taste.taste(requests).toarray().astype(np.float64) + np.log1p(world.popularity_I)
    possible_GI = match_GI > 0
    if allowed_I is not None:
        possible_GI &= allowed_I
    check_scores(channel.scores(requests), expected_GI, possible_GI, k)
    assert possible_GI[:-1].any()
    assert not possible_GI[-1].any()  # unheard of


@pytest.mark.parametrize("name", ["clicks", "lexical"])
def test_without_a_query_taste_and_popularity_score_and_nothing_is_proposed(name: str) -> None:
    world = random_world(0)
    channel, _, taste = search(world, name)
    requests = world.requests(0)
    expected_GI = TASTE * taste.taste(requests).toarray() + np.log1p(world.popularity_I)
    check_scores(channel.scores(requests), expected_GI, np.zeros(expected_GI.shape, dtype=bool), 5)


def test_the_best_match_of_each_query_weighs_alike() -> None:
    match_GI = csr_array(np.array([[0, 2, 4, 1], [0, 0, 0, 0], [0.5, 0, 0, 0]], dtype=np.float32))
    scaled_GI = scaled_to_best(match_GI, 20)
    assert scaled_GI.dtype == np.float32
    np.testing.assert_allclose(scaled_GI.toarray(), [[0, 10, 20, 5], [0, 0, 0, 0], [20, 0, 0, 0]])
    assert scaled_to_best(csr_array((2, 3), dtype=np.float32), 20).nnz == 0


def test_it_is_as_empty_as_its_matcher() -> None:
    assert search(random_world(silent=True), "lexical")[0].empty == "no item text has words"
    assert search(random_world(), "lexical")[0].empty is None
