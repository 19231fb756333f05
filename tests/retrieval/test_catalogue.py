"""Whole-catalogue metrics against a brute-force ranking."""

import dataclasses

import numpy as np
import pytest

from gensr_dist.config import Config
from gensr_dist.data.config import DataConfig
from gensr_dist.data.events import Behaviour
from gensr_dist.data.items import ItemStore
from gensr_dist.data.shards.store import TimelineStore
from gensr_dist.data.timelines.splits import Split
from gensr_dist.errors import InputError
from gensr_dist.evaluation.config import EvaluationConfig
from gensr_dist.graph.vectors import load_cf
from gensr_dist.retrieval.catalogue import catalogue_metrics, evaluate_catalogue
from gensr_dist.retrieval.config import RetrievalConfig
from gensr_dist.retrieval.index import CatalogueIndex
from gensr_dist.retrieval.prefilter import Prefilter
from gensr_dist.trained_run import TrainedRun


class HashScorer:
    """A fixed score for each (user, item), with many ties."""

    def score(self, rows):
        return ((rows.user_R[:, None] * 31 + rows.candidate_RC * 17) % 13).astype(np.float64)


@pytest.fixture(scope="module")
def world(run):
    store, items = TimelineStore.open(run.shards), ItemStore.open(run.shards)
    vectors, user_VE = load_cf(run.cf, folds=False)
    prefilter = Prefilter(
        CatalogueIndex.open(run.index), store, vectors.whole_IE, user_VE, items.popularity_I, exclude_seen=True
    )
    return store, items, prefilter


@pytest.mark.parametrize("task", list(Behaviour))
@pytest.mark.parametrize("candidates", [None, 20])
def test_metrics_equal_brute_force(world, monkeypatch, task, candidates):
    monkeypatch.setattr("gensr_dist.retrieval.catalogue._ROWS", 4)
    store, items, prefilter = world
    rows = store.eval_rows(Split.TEST, task)
    found = catalogue_metrics(HashScorer(), prefilter, rows, items, candidates)

    histories = store.window(0).histories
    ranks = []
    for row in range(len(rows)):
        user, end, positive = rows.user_R[row], rows.history_end_R[row], rows.candidate_RC[row, 0]
        seen = set(histories.item_M[histories.user_start_V[user] : end].tolist())
        if candidates is None:
            proposed = [item for item in range(store.items) if item not in seen]
        elif task == Behaviour.RECOMMENDATION:
            proposed = prefilter.recommendations(np.array([user]), np.array([end]), candidates)[0].tolist()
        else:
            query = items.query_QT[[rows.query_R[row]]].astype(np.int64)
            texts = [items.queries[int(rows.query_R[row])]]
            proposed = prefilter.search(np.array([user]), np.array([end]), query, texts, candidates)[0].tolist()
        score = {item: (user * 31 + item * 17) % 13 for item in proposed}
        rivals = [item for item in proposed if item != positive and score[item] >= score.get(positive, 99)]
        ranks.append(1 + len(rivals) if positive in score else np.inf)
    ranks = np.array(ranks)
    assert found.task == task
    assert found.full == (candidates is None)
    assert found.count == len(rows)
    assert found.prefilter_recall == pytest.approx(np.isfinite(ranks).mean())
    for cutoff in (1, 5, 10, 20):
        assert found.recall[cutoff] == pytest.approx((ranks <= cutoff).mean())
        assert found.ndcg[cutoff] == pytest.approx(np.where(ranks <= cutoff, 1 / np.log2(1 + ranks), 0).mean())


def test_targets_are_candidates_unless_met_before(world):
    """What a user met at or after the row's moment is not seen: the full pass misses only earlier-met positives."""
    store, items, prefilter = world
    rows = store.eval_rows(Split.TEST, Behaviour.RECOMMENDATION)
    histories = store.window(0).histories
    met_before = [
        rows.candidate_RC[row, 0]
        in histories.item_M[histories.user_start_V[rows.user_R[row]] : rows.history_end_R[row]]
        for row in range(len(rows))
    ]
    found = catalogue_metrics(HashScorer(), prefilter, rows, items, None)
    assert found.prefilter_recall == pytest.approx(1 - np.mean(met_before))


def test_scores_that_are_no_numbers_are_refused(world):
    class Broken:
        def score(self, rows):
            return np.full(rows.candidate_RC.shape, np.nan)

    store, items, prefilter = world
    with pytest.raises(InputError, match="not a number"):
        catalogue_metrics(Broken(), prefilter, store.eval_rows(Split.TEST, Behaviour.SEARCH), items, None)


def test_stage_reports_both_tasks_by_prefilter_and_in_full(run):
    trained = TrainedRun.open(run, Config(data=DataConfig(history=6)))
    evaluation = EvaluationConfig(catalogue_rows=5)
    config = RetrievalConfig(candidates=25)
    results = evaluate_catalogue(trained, config, evaluation, 0)
    assert [(found.task, found.full) for found in results] == [
        (Behaviour.RECOMMENDATION, False),
        (Behaviour.RECOMMENDATION, True),
        (Behaviour.SEARCH, False),
        (Behaviour.SEARCH, True),
    ]
    assert all(found.count == 5 for found in results)
    assert results[0].candidates == 25
    for short, full in zip(results[::2], results[1::2], strict=True):
        assert short.prefilter_recall <= full.prefilter_recall
    assert results == evaluate_catalogue(trained, config, evaluation, 0)
    assert evaluate_catalogue(trained, config, dataclasses.replace(evaluation, catalogue_rows=0), 0) == ()
