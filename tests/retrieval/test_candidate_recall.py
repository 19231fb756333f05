"""Recall of channels and fusion against a count by hand; its place in the results."""

import dataclasses

import numpy as np
import pytest

from gensr_dist.config import Config
from gensr_dist.data.config import DataConfig
from gensr_dist.data.events import Behaviour
from gensr_dist.data.timelines.splits import Split
from gensr_dist.evaluation.config import EvaluationConfig
from gensr_dist.evaluation.metrics import CANDIDATE_CUTOFFS
from gensr_dist.retrieval.candidate_recall import candidate_metrics, evaluate_candidates, queries_of
from gensr_dist.retrieval.config import RetrievalConfig
from gensr_dist.retrieval.prefilter import Prefilter
from gensr_dist.trained_run import TrainedRun


@pytest.fixture(scope="module")
def trained(run):
    return TrainedRun.open(run, Config(data=DataConfig(history=6)))


def test_recall_equals_a_count_by_hand(trained, monkeypatch):
    monkeypatch.setattr("gensr_dist.retrieval.candidate_recall._ROWS", 7)
    monkeypatch.setattr("gensr_dist.retrieval.candidate_recall.CANDIDATE_CUTOFFS", (3, 20))
    monkeypatch.setattr("gensr_dist.evaluation.metrics.CANDIDATE_CUTOFFS", (3, 20))
    prefilter = Prefilter.of(trained, exclude_seen=True)
    for task in Behaviour:
        rows = trained.store.eval_rows(Split.TEST, task)
        found = candidate_metrics(prefilter, rows, trained.items)
        query_RQ, texts = queries_of(rows, trained.items)
        hits = {3: 0, 20: 0}
        for row in range(len(rows)):
            moment = rows.user_R[[row]], rows.history_end_R[[row]]
            if task == Behaviour.SEARCH:
                candidates = prefilter.search(*moment, query_RQ[[row]], texts[row : row + 1], 20)[0].tolist()
            else:
                candidates = prefilter.recommendations(*moment, 20)[0].tolist()
            for cutoff in hits:
                hits[cutoff] += rows.candidate_RC[row, 0] in candidates[:cutoff]
        assert found.task == task
        assert found.count == len(rows)
        assert found.recall == {cutoff: pytest.approx(count / len(rows)) for cutoff, count in hits.items()}
        channels = prefilter.recommending if task == Behaviour.RECOMMENDATION else prefilter.searching
        assert set(found.channels) == set(channels)


def test_stage_measures_all_rows_unless_some_are_drawn(trained):
    config = RetrievalConfig(candidates=25)
    every = evaluate_candidates(trained, config, EvaluationConfig(), 0)
    assert [metrics.task for metrics in every] == list(Behaviour)
    for metrics in every:
        assert metrics.count == len(trained.store.eval_rows(Split.TEST, metrics.task))
        assert tuple(metrics.recall) == CANDIDATE_CUTOFFS
        shares = list(metrics.recall.values())
        assert shares == sorted(shares)
    some = evaluate_candidates(trained, config, dataclasses.replace(EvaluationConfig(), rows=5), 0)
    assert [metrics.count for metrics in some] == [5, 5]


def test_rows_without_queries_have_no_text(trained):
    rows = trained.store.eval_rows(Split.TEST, Behaviour.RECOMMENDATION)
    query_RQ, texts = queries_of(dataclasses.replace(rows, query_R=np.full(len(rows), -1)), trained.items)
    assert set(texts) == {""}
    assert not query_RQ.any()
