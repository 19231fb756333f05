import numpy as np
import pytest

from gensr_dist.baselines.untrained.bm25 import BM25
from gensr_dist.baselines.untrained.bm25_popularity import WEIGHTS, BM25Popularity
from gensr_dist.baselines.untrained.choice import mean_ndcg
from gensr_dist.data.events import Behaviour
from gensr_dist.data.items import ItemStore
from gensr_dist.data.shards.store import TimelineStore
from gensr_dist.data.timelines.rows import EvalRows
from gensr_dist.data.timelines.splits import Split


def rows_of(query_R: list[int], candidates: list[list[int]]) -> EvalRows:
    zeros = np.zeros(len(query_R), dtype=np.int64)
    return EvalRows(zeros, zeros, zeros + 1, np.array(query_R), zeros, np.array(candidates))


def test_adds_the_logarithm_of_popularity(small_store: TimelineStore, small_items: ItemStore) -> None:
    rows = small_store.eval_rows(Split.TEST, Behaviour.SEARCH)
    bm25 = BM25(small_items.texts.to_list(), small_items.queries.to_list())
    score_RC = BM25Popularity(bm25, small_items.popularity_I, 0.3).score(rows)
    match_RC = bm25.score(rows)
    for row, place in np.ndindex(*score_RC.shape):
        popular = np.log(1 + int(small_items.popularity_I[rows.candidate_RC[row, place]]))
        assert score_RC[row, place] == pytest.approx(match_RC[row, place] + 0.3 * popular)


def test_takes_the_weight_that_is_best_in_validation(small_store: TimelineStore, small_items: ItemStore) -> None:
    rows = small_store.eval_rows(Split.VALID, Behaviour.SEARCH)
    bm25 = BM25(small_items.texts.to_list(), small_items.queries.to_list())
    chosen = BM25Popularity.fitted(bm25, small_items.popularity_I, rows)
    gains = {w: mean_ndcg(BM25Popularity(bm25, small_items.popularity_I, w).score(rows)) for w in WEIGHTS}
    assert gains[chosen.weight] == max(gains.values())


def test_popularity_decides_between_items_that_fit_alike() -> None:
    texts, popularity_I = ["red tea", "red tea", "blue tea"], np.array([1, 9, 99])
    bm25 = BM25(texts, ["red"])
    fits = BM25Popularity.fitted(bm25, popularity_I, rows_of([0, 0], [[1, 0, 2], [1, 2, 0]]))
    assert fits.weight == 0.01
    none = BM25Popularity.fitted(bm25, np.zeros(3, dtype=np.int64), rows_of([0], [[0, 2, 2]]))
    assert none.weight == 0
