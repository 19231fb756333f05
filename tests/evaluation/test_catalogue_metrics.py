"""Metrics of orders over the whole catalogue: from ranks, and which channels the hits come from."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gensr_dist.data.events import Behaviour
from gensr_dist.evaluation.catalogue_metrics import ANSWERS, CANDIDATES, COUNTING, LOG_ODDS, CatalogueMetrics
from gensr_dist.evaluation.metrics import MISSED, TaskMetrics
from gensr_dist.evaluation.significance import paired_test


def drawn(seed: int, rows: int) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    rng = np.random.default_rng(seed)
    ranks = {}
    for name in (ANSWERS, CANDIDATES, LOG_ODDS, COUNTING):
        ranks[name] = np.where(rng.random(rows) < 0.3, MISSED, rng.integers(1, 30, rows))
    proposed = {name: rng.random(rows) < 0.5 for name in ("near", "words")}
    return ranks, {**proposed, "silent": np.zeros(rows, dtype=bool)}


def metrics_of(ranks: dict[str, np.ndarray], proposed: dict[str, np.ndarray], resamples: int = 40) -> CatalogueMetrics:
    users = users_of(len(ranks[ANSWERS]))
    return CatalogueMetrics.from_ranks(
        Behaviour.SEARCH, ranks, proposed, users, candidates=30, resamples=resamples, seed=3
    )


def users_of(rows: int) -> np.ndarray:
    return np.arange(rows) // 3


@settings(max_examples=40)
@given(seed=st.integers(0, 2**16), rows=st.integers(1, 60))
def test_hits_of_channels_equal_a_count_by_hand(seed: int, rows: int) -> None:
    ranks, proposed = drawn(seed, rows)
    found = metrics_of(ranks, proposed, resamples=0)
    hit_rows = [row for row in range(rows) if ranks[ANSWERS][row] <= 10]
    assert found.hits.keys() == proposed.keys()
    for name, by_R in proposed.items():
        mine = [row for row in hit_rows if by_R[row]]
        alone = [row for row in mine if sum(other[row] for other in proposed.values()) == 1]
        assert found.hits[name].proposed == pytest.approx(len(mine) / max(1, len(hit_rows)))
        assert found.hits[name].alone == pytest.approx(len(alone) / max(1, len(hit_rows)))
    assert found.candidate_recall == pytest.approx((ranks[ANSWERS] != MISSED).mean())
    assert (found.candidates, found.task) == (30, Behaviour.SEARCH)


def test_orders_and_leads_are_those_of_the_same_rows() -> None:
    ranks, proposed = drawn(0, 200)
    found = metrics_of(ranks, proposed)
    assert list(found.orders) == [ANSWERS, CANDIDATES, LOG_ODDS, COUNTING]
    for name, rank_R in ranks.items():
        assert found.orders[name] == TaskMetrics.from_ranks(rank_R, users_of(200), resamples=40, seed=3)
        assert found.orders[name].ndcg[10].interval is not None
    assert list(found.leads) == [CANDIDATES, LOG_ODDS, COUNTING]
    for name, lead in found.leads.items():
        assert lead == paired_test(ranks[ANSWERS], ranks[name], users_of(200), resamples=40, seed=3)
        gap = found.orders[ANSWERS].ndcg[10].value - found.orders[name].ndcg[10].value
        assert lead.difference == pytest.approx(gap)


def test_without_resamples_there_are_no_leads() -> None:
    found = metrics_of(*drawn(0, 20), resamples=0)
    assert found.leads == {}
    assert found.orders[ANSWERS].mrr.interval is None


def test_where_everything_is_missed_nothing_is_found() -> None:
    nothing = np.full(5, MISSED)
    found = metrics_of({ANSWERS: nothing, CANDIDATES: nothing}, {"near": np.ones(5, dtype=bool)})
    assert found.candidate_recall == found.orders[ANSWERS].recall[20].value == found.orders[ANSWERS].mrr.value == 0
    assert (found.hits["near"].proposed, found.hits["near"].alone) == (0, 0)
