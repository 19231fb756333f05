"""BM25 lists against another implementation."""

import bm25s
import numpy as np

from gensr_dist.data.words import query_words
from gensr_dist.retrieval.channels.lexical import Lexical, bm25_lists
from tests.retrieval.world import random_world


def test_matches_equal_bm25s() -> None:
    world = random_world(0, items=60)
    index = bm25s.BM25()
    index.index([text.split() for text in world.texts], show_progress=False)
    known = {word for text in world.texts for word in text.split()}
    typed = [*world.queries, "unheard of"]
    match_GI = Lexical(world.arrays.bm25_WI).match(query_words(typed, world.arrays.hash_W)).toarray()
    expected_GI = np.zeros_like(match_GI)
    for group, text in enumerate(typed):
        words = [word for word in dict.fromkeys(text.split()) if word in known]
        if words:
            expected_GI[group] = index.get_scores(words)
    np.testing.assert_allclose(match_GI, expected_GI, atol=1e-5)
    assert (match_GI > 0).any(axis=1).sum() > len(typed) // 2
    assert not match_GI[-1].any()


def test_of_a_frequent_word_only_the_heaviest_items_are_listed() -> None:
    world = random_world(0, items=60)
    whole_WI, cut_WI = world.arrays.bm25_WI.toarray(), bm25_lists(world.sources.text_IW, longest=3).toarray()
    assert (whole_WI > 0).sum(axis=1).max() > 3
    for whole_I, cut_I in zip(whole_WI, cut_WI, strict=True):
        assert np.count_nonzero(cut_I) == min(3, np.count_nonzero(whole_I))
        np.testing.assert_array_equal(np.sort(cut_I)[-3:], np.sort(whole_I)[-3:])


def test_it_is_empty_where_no_text_has_words() -> None:
    assert Lexical(random_world(silent=True).arrays.bm25_WI).empty == "no item text has words"
    assert Lexical(random_world().arrays.bm25_WI).empty is None
