import math
import re
from collections import Counter

import numpy as np
import pytest

from gensr_dist.baselines.untrained.bm25 import BM25
from gensr_dist.baselines.untrained.lightgcn import LightGCNDotProduct
from gensr_dist.baselines.untrained.popularity import Popularity
from gensr_dist.data.events import Behaviour
from gensr_dist.data.items import ItemStore
from gensr_dist.data.shards.store import TimelineStore
from gensr_dist.data.timelines.rows import EvalRows
from gensr_dist.data.timelines.splits import Split
from gensr_dist.evaluation.protocol import Scorer


def test_popularity_counts_positive_training_events(small_store: TimelineStore, small_items: ItemStore) -> None:
    timelines = small_store.window(0).timelines
    scorer = Popularity(small_items.popularity_I)
    counted = Counter(
        int(item)
        for item, positive, split in zip(timelines.item_N, timelines.positive_N, timelines.split_N, strict=True)
        if positive and split == Split.TRAIN
    )
    assert scorer.count_I.tolist() == [counted[item] for item in range(small_store.items)]
    assert sum(counted.values()) < len(timelines.item_N)
    rows = small_store.eval_rows(Split.TEST, Behaviour.SEARCH)
    score_RC = scorer.score(rows)
    assert score_RC[3].tolist() == [counted[int(item)] for item in rows.candidate_RC[3]]


def test_lightgcn_is_a_dot_product(small_store: TimelineStore, small_cf: np.ndarray) -> None:
    user_VE = np.random.default_rng(2).normal(size=(small_store.users, 8)).astype(np.float32)
    rows = small_store.eval_rows(Split.TEST, Behaviour.RECOMMENDATION)
    score_RC = LightGCNDotProduct(small_cf, user_VE).score(rows)
    for row in (0, 5):
        expected = [user_VE[rows.user_R[row]] @ small_cf[item] for item in rows.candidate_RC[row]]
        assert score_RC[row] == pytest.approx(np.array(expected), rel=1e-5)


def robertson(query: str, texts: list[str]) -> list[float]:
    """BM25 with Lucene's idf, k1 = 1.5 and b = 0.75, word by word."""
    documents = [re.findall(r"\w+", text.lower()) for text in texts]
    mean_length = sum(map(len, documents)) / len(documents)
    scores = []
    for document in documents:
        total = 0.0
        for word in re.findall(r"\w+", query.lower()):
            holding = sum(word in other for other in documents)
            idf = math.log(1 + (len(documents) - holding + 0.5) / (holding + 0.5))
            count = document.count(word)
            total += idf * count / (count + 1.5 * (1 - 0.75 + 0.75 * len(document) / mean_length))
        scores.append(total)
    return scores


@pytest.mark.parametrize("query", ["red lamp", "Red, RED soap", "w12 w7", "unheard of", "", "?!", "a red x"])
def test_bm25_equals_its_formula(query: str) -> None:
    texts = ["Red lamp", "red wool red", "", "soap (w7)", "w12 w7 w12 tea", "x"]
    scorer = BM25(texts, [query])
    assert scorer.catalogue(query) == pytest.approx(robertson(query, texts), rel=1e-5)


def test_bm25_scores_candidates_of_each_row(small_store: TimelineStore, small_items: ItemStore) -> None:
    rows = small_store.eval_rows(Split.TEST, Behaviour.SEARCH)
    scorer = BM25(small_items.texts.to_list(), small_items.queries.to_list())
    score_RC = scorer.score(rows)
    for row in range(0, len(rows), 7):
        catalogue_I = scorer.catalogue(small_items.queries[int(rows.query_R[row])])
        assert np.array_equal(score_RC[row], catalogue_I[rows.candidate_RC[row]])
    assert np.unique(score_RC).size > 3
    recommendation = small_store.eval_rows(Split.TEST, Behaviour.RECOMMENDATION)
    assert not scorer.score(recommendation).any()


def test_bm25_without_any_word_scores_zero(small_store: TimelineStore) -> None:
    rows = small_store.eval_rows(Split.TEST, Behaviour.SEARCH)
    assert not BM25([""] * small_store.items, ["red"] * 12).score(rows).any()


@pytest.mark.parametrize("name", ["popularity", "lightgcn", "bm25"])
def test_a_row_does_not_depend_on_the_others(
    name: str, small_store: TimelineStore, small_items: ItemStore, small_cf: np.ndarray
) -> None:
    users = np.random.default_rng(2).normal(size=(small_store.users, 8)).astype(np.float32)
    scorers: dict[str, Scorer] = {
        "popularity": Popularity(small_items.popularity_I),
        "lightgcn": LightGCNDotProduct(small_cf, users),
        "bm25": BM25(small_items.texts.to_list(), small_items.queries.to_list()),
    }
    rows: EvalRows = small_store.eval_rows(Split.VALID, Behaviour.SEARCH)
    whole = scorers[name].score(rows)
    parts = [scorers[name].score(rows.take(np.arange(n, min(n + 3, len(rows))))) for n in range(0, len(rows), 3)]
    assert np.array_equal(np.concatenate(parts), whole)
