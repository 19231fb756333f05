"""Whole-catalogue metrics against a brute-force ranking."""

import dataclasses
from typing import Any, cast

import numpy as np
import pytest

from gensr_dist.baselines.untrained.counting import Counting
from gensr_dist.config.root import load_config
from gensr_dist.data.events import Behaviour
from gensr_dist.data.timelines.splits import Split
from gensr_dist.evaluation.catalogue_metrics import ANSWERS, CANDIDATES, COUNTING, LOG_ODDS
from gensr_dist.evaluation.config import EvaluationConfig
from gensr_dist.retrieval import catalogue as module
from gensr_dist.retrieval.candidates import CandidateGenerator
from gensr_dist.retrieval.catalogue import catalogue_metrics, evaluate_catalogue
from gensr_dist.retrieval.ranker import Ranker
from gensr_dist.retrieval.requests import Requests
from gensr_dist.retrieval.stage import open_ranker
from gensr_dist.runs.folder import RunFolder
from gensr_dist.runs.trained_run import TrainedRun

EVALUATION = EvaluationConfig(bootstrap=50)


class FewLogOdds:
    """A score of each item alone, with many ties."""

    def log_odds(self, requests: Requests, item_GK: np.ndarray) -> np.ndarray:
        return (item_GK * 17 % 5).astype(np.float32)


class FewCounts:
    """The same of counting."""

    def score(self, rows: Any) -> np.ndarray:
        return ((rows.user_R[:, None] * 31 + rows.candidate_RC * 17) % 13).astype(np.float64)


@pytest.fixture(scope="module")
def ranker(run: RunFolder, trained: TrainedRun) -> Ranker:
    return open_ranker(trained, load_config(run.config))


def rank_of(positive: int, score: dict[int, float]) -> float:
    """Ties count against the positive."""
    return sum(value >= score[positive] for value in score.values()) if positive in score else np.inf


@pytest.mark.parametrize("task", list(Behaviour))
@pytest.mark.parametrize("fitted", [False, True])
def test_metrics_equal_brute_force(
    trained: TrainedRun, ranker: Ranker, monkeypatch: pytest.MonkeyPatch, task: Behaviour, fitted: bool
) -> None:
    monkeypatch.setattr("gensr_dist.retrieval.requests._ROWS", 4)
    rows, store = trained.store.eval_rows(Split.TEST, task), trained.store
    tied = Ranker(ranker.generator, cast(Any, FewLogOdds()), ranker.orders if fitted else {})
    found = catalogue_metrics(tied, cast(Any, FewCounts()), rows, store, trained.items, 20, EVALUATION, 0)
    ranks: dict[str, list[float]] = {name: [] for name in (ANSWERS, CANDIDATES, LOG_ODDS, COUNTING)}
    proposed: dict[str, list[bool]] = {name: [] for name in tied.generator.channels.proposing(task)}
    for row in range(len(rows)):
        user, positive = int(rows.user_R[row]), int(rows.candidate_RC[row, 0])
        requests = Requests.of_rows(store, trained.items, rows.take(np.array([row])))
        ranked = tied.rank(requests, 20)
        items = ranked.candidates.item_GK[0].tolist()
        assert min(items) >= 0
        ranks[ANSWERS].append(rank_of(positive, dict(zip(items, ranked.score_GK[0].tolist(), strict=True))))
        ranks[LOG_ODDS].append(rank_of(positive, {item: item * 17 % 5 for item in items}))
        ranks[CANDIDATES].append(1 + items.index(positive) if positive in items else np.inf)
        unseen = set(range(store.items)) - set(requests.item_M.tolist())
        ranks[COUNTING].append(rank_of(positive, {item: (user * 31 + item * 17) % 13 for item in unseen}))
        for name, item_GD in ranked.candidates.proposals.items():
            proposed[name].append(positive in item_GD[0])
    assert found.task == task
    assert found.candidates == 20
    assert next(iter(found.orders)) == ANSWERS
    assert found.orders.keys() == ranks.keys()
    for name, by_row in ranks.items():
        rank_R = np.array(by_row)
        assert found.orders[name].count == len(rows)
        for cutoff in (1, 5, 10, 20):
            assert found.orders[name].recall[cutoff].value == pytest.approx((rank_R <= cutoff).mean())
            gain_R = np.where(rank_R <= cutoff, 1 / np.log2(1 + rank_R), 0)
            assert found.orders[name].ndcg[cutoff].value == pytest.approx(gain_R.mean())
    answer_R = np.array(ranks[ANSWERS])
    assert found.candidate_recall == pytest.approx(np.isfinite(answer_R).mean())
    assert 0 < found.candidate_recall < 1
    hit_R = answer_R <= 10
    others = np.sum(list(proposed.values()), axis=0)
    for name, by_row in proposed.items():
        by_R = np.array(by_row)
        assert found.hits[name].proposed == pytest.approx(by_R[hit_R].mean())
        assert found.hits[name].alone == pytest.approx((by_R & (others == 1))[hit_R].mean())


@pytest.mark.parametrize("exclude_seen", [True, False])
@pytest.mark.parametrize("task", list(Behaviour))
def test_counting_ranks_every_item_that_may_be_a_candidate(
    trained: TrainedRun, ranker: Ranker, task: Behaviour, exclude_seen: bool
) -> None:
    """Whatever the layout of its scores in memory; a positive that was met before is missed where met ones are."""
    generator = CandidateGenerator(ranker.generator.channels, ranker.generator.items, exclude_seen=exclude_seen)
    ranker = Ranker(generator, cast(Any, FewLogOdds()), {})
    store, items = trained.store, trained.items
    rows = store.eval_rows(Split.TEST, task)
    first_R = Requests.of_rows(store, items, rows).start_G[:-1]
    met = Requests.of_rows(store, items, rows).item_M[first_R[3]]
    candidate_RC = rows.candidate_RC.copy()
    candidate_RC[3, 0] = met
    rows = dataclasses.replace(rows, candidate_RC=candidate_RC)
    counting = Counting.of_log(store, items)
    found = catalogue_metrics(ranker, counting, rows, store, items, 20, EVALUATION, 0).orders[COUNTING]
    ranks = []
    for row in range(len(rows)):
        one = rows.take(np.array([row]))
        left_out = set(Requests.of_rows(store, items, one).item_M.tolist()) if exclude_seen else set()
        ranked = [item for item in range(store.items) if item not in left_out]
        score = counting.score(dataclasses.replace(one, candidate_RC=np.array([ranked])))[0].tolist()
        ranks.append(rank_of(int(candidate_RC[row, 0]), dict(zip(ranked, score, strict=True))))
    rank_R = np.array(ranks)
    assert np.isinf(rank_R[3]) == exclude_seen
    for cutoff in (1, 5, 10, 20):
        assert found.recall[cutoff].value == pytest.approx((rank_R <= cutoff).mean())
    assert found.mrr.value == pytest.approx((1 / rank_R).mean())


def test_the_stage_draws_rows_of_both_tasks(
    trained: TrainedRun, ranker: Ranker, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluation = EvaluationConfig(catalogue_rows=5, bootstrap=20)
    results = evaluate_catalogue(trained, ranker, 25, evaluation, 0)
    assert [found.task for found in results] == list(Behaviour)
    assert all(order.count == 5 for found in results for order in found.orders.values())
    assert all(found.candidates == 25 for found in results)
    assert all(found.leads.keys() == {CANDIDATES, LOG_ODDS, COUNTING} for found in results)
    assert results == evaluate_catalogue(trained, ranker, 25, evaluation, 0)
    assert evaluate_catalogue(trained, ranker, 25, dataclasses.replace(evaluation, catalogue_rows=0), 0) == ()
    monkeypatch.setattr(module, "COUNTED_UP_TO", trained.store.items - 1)
    large = evaluate_catalogue(trained, ranker, 25, evaluation, 0)
    assert all(found.orders.keys() == {ANSWERS, CANDIDATES, LOG_ODDS} for found in large)
    assert [found.orders[ANSWERS] for found in large] == [found.orders[ANSWERS] for found in results]
