"""Inner products through FAISS against float64: every kind of index, allowed items, items and groups without vector."""

from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gensr_dist.retrieval.channels.dense_scores import DenseScores
from tests.retrieval.world import check_scores, vector_index

Kind = Literal["flat", "ivf", "hnsw"]


def vectors(seed: int, rows: int, width: int = 8) -> np.ndarray:
    """Every fifth is zero."""
    vector = np.random.default_rng(seed).normal(size=(rows, width)).astype(np.float32)
    vector[::5] = 0
    return vector


@settings(max_examples=30)
@given(seed=st.integers(0, 2**16), items=st.integers(1, 60), k=st.integers(1, 80), all_=st.booleans())
def test_flat_scores_are_inner_products(seed: int, items: int, k: int, all_: bool) -> None:
    item_ID, query_GD = vectors(seed, items), vectors(seed + 1, 7)
    allowed_I = None if all_ else np.random.default_rng(seed).random(items) < 0.5
    possible_GI = query_GD.any(axis=1)[:, None] & item_ID.any(axis=1)
    if allowed_I is not None:
        possible_GI = possible_GI & allowed_I
    scores = DenseScores(vector_index(item_ID), item_ID, query_GD, allowed_I)
    check_scores(scores, query_GD.astype(np.float64) @ item_ID.T.astype(np.float64), possible_GI, k)


@pytest.mark.parametrize("kind", ["ivf", "hnsw"])
@pytest.mark.parametrize("share", [None, 0.5, 0.02])
def test_approximate_kinds_find_most_of_the_allowed(kind: Kind, share: float | None) -> None:
    item_ID, query_GD = vectors(0, 1_000), vectors(1, 40)
    allowed_I = None if share is None else np.random.default_rng(2).random(len(item_ID)) < share
    possible_I = item_ID.any(axis=1) if allowed_I is None else item_ID.any(axis=1) & allowed_I
    index = vector_index(item_ID, kind)
    found = DenseScores(index, item_ID, query_GD, allowed_I).best(10)
    score_GI = np.where(possible_I, query_GD @ item_ID.T, -np.inf)
    recall = []
    for group, item_K in enumerate(found.item_GK):
        real_K = item_K[item_K >= 0]
        if not query_GD[group].any():
            assert not len(real_K)
            continue
        assert possible_I[real_K].all()
        assert len(set(real_K.tolist())) == len(real_K)
        np.testing.assert_allclose(found.score_GK[group, : len(real_K)], score_GI[group, real_K], rtol=1e-4, atol=1e-4)
        best_K = np.argsort(-score_GI[group])[: min(10, possible_I.sum())]
        recall.append(len(set(real_K.tolist()) & set(best_K.tolist())) / len(best_K))
    assert len(recall) == 32
    assert np.mean(recall) > 0.85


@pytest.mark.parametrize("kind", ["flat", "ivf", "hnsw"])
def test_the_search_effort_holds_where_items_are_left_out(kind: Kind) -> None:
    """Parameters of a search take the place of the index's own; all items allowed is as none left out."""
    item_ID, query_GD = vectors(0, 2_000, 32), vectors(1, 20, 32)
    index = vector_index(item_ID, kind)
    free, bound = index.search(query_GD, 15), index.search(query_GD, 15, np.ones(len(item_ID), dtype=bool))
    np.testing.assert_array_equal(free.item_GK, bound.item_GK)


@pytest.mark.parametrize("kind", ["flat", "ivf", "hnsw"])
def test_nothing_allowed_or_nothing_indexed_finds_nothing(kind: Kind) -> None:
    item_ID, query_GD = vectors(0, 50), np.ones((3, 8), dtype=np.float32)
    assert (vector_index(item_ID, kind).search(query_GD, 5, np.zeros(50, dtype=bool)).item_GK == -1).all()
    empty = vector_index(np.zeros_like(item_ID), kind)
    found = empty.search(query_GD, 5)
    assert (found.item_GK == -1).all()
    assert np.isneginf(found.score_GK).all()


def test_a_group_is_scored_as_it_is_alone() -> None:
    item_ID, query_GD = vectors(0, 200), vectors(1, 40)
    index = vector_index(item_ID)
    together = DenseScores(index, item_ID, query_GD)
    every_GI = np.tile(np.arange(200), (40, 1))
    for group in range(40):
        alone = DenseScores(index, item_ID, query_GD[[group]])
        np.testing.assert_array_equal(alone.best(20).item_GK[0], together.best(20).item_GK[group])
        np.testing.assert_array_equal(alone.of(every_GI[[group]])[0], together.of(every_GI)[group])
