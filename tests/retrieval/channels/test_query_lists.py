"""Lists of items that fit each query, against a plain sum of matches."""

import numpy as np
import pytest
from scipy.sparse import csr_array

from gensr_dist.retrieval.channels import query_lists
from gensr_dist.retrieval.channels.lexical import Lexical, bm25_lists
from gensr_dist.retrieval.channels.query_clicks import ClickGraph
from gensr_dist.retrieval.channels.query_lists import query_items

QUERIES, ITEMS, WORDS = 40, 200, 30


@pytest.fixture
def log() -> tuple[csr_array, ClickGraph, csr_array]:
    """Words of queries, clicks of training searches, texts; some queries have no word, or none that anything has."""
    rng = np.random.default_rng(0)
    word_QW = rng.random((QUERIES, WORDS)) < 0.08
    word_QW[:3] = False
    text_IW = rng.integers(0, 3, (ITEMS, WORDS)) * (rng.random((ITEMS, WORDS)) < 0.1)
    text_IW[:, -1] = 0
    found_IQ = rng.integers(0, 3, (ITEMS, QUERIES)) * (rng.random((ITEMS, QUERIES)) < 0.03)
    words = csr_array(word_QW.astype(np.float64))
    return words, ClickGraph.of(words, csr_array(found_IQ.astype(float))), bm25_lists(csr_array(text_IW.astype(float)))


def expected(log: tuple[csr_array, ClickGraph, csr_array], longest: int) -> list[dict[int, float]]:
    """For each query its items with their scores, the best `longest`."""
    words, clicks, bm25_WI = log
    lists = []
    for query in range(QUERIES):
        word_1W = csr_array(words[[query]].astype(np.float32))
        score_I = np.zeros(ITEMS)
        for match_1I in (clicks.match(word_1W), Lexical(bm25_WI).match(word_1W)):
            match_I = match_1I.toarray()[0].astype(np.float64)
            score_I += match_I / (match_I.max() or 1)
        best = sorted(np.flatnonzero(score_I).tolist(), key=lambda item: -score_I[item])[:longest]
        lists.append({item: float(score_I[item]) for item in best})
    return lists


@pytest.mark.parametrize("block", [7, 256])
def test_the_best_items_of_each_query(
    log: tuple[csr_array, ClickGraph, csr_array], monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    monkeypatch.setattr(query_lists, "_BLOCK", block)
    found = query_items(*log)
    longest = ITEMS // 40
    assert len(found.start_Q) == QUERIES + 1
    full = 0
    for query, scores in enumerate(expected(log, longest)):
        own = found.item_M[found.start_Q[query] : found.start_Q[query + 1]].tolist()
        assert len(own) == len(set(own)) == len(scores)
        # Items of equal score may stand for each other.
        worst = min(scores.values(), default=0)
        sure = {item for item, score in scores.items() if score > worst + 1e-5}
        assert sure <= set(own)
        full += len(own) == longest
    assert full > 20
    assert found.start_Q[3] == 0, "queries without words have no list"


def test_long_lists_of_words_are_cut_where_queries_are_many(
    log: tuple[csr_array, ClickGraph, csr_array], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = query_items(*log)
    monkeypatch.setattr(query_lists, "_WORK", 2 * log[0].nnz)
    cut = query_items(*log)
    assert len(cut.start_Q) == len(whole.start_Q)
    assert not np.array_equal(cut.item_M, whole.item_M)


def test_a_log_without_queries() -> None:
    nothing = csr_array((0, WORDS))
    graph = ClickGraph.of(nothing, csr_array((ITEMS, 0)))
    found = query_items(nothing, graph, bm25_lists(csr_array((ITEMS, WORDS))))
    assert found.start_Q.tolist() == [0]
    assert len(found.item_M) == 0
