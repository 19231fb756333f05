"""Recall of channels, their union and the fusion against a count by hand; rows that are drawn."""

import dataclasses

import numpy as np
import pytest

from gensr_dist.config.root import load_config
from gensr_dist.data.events import Behaviour
from gensr_dist.data.timelines.splits import Split
from gensr_dist.evaluation.config import EvaluationConfig
from gensr_dist.evaluation.metrics import CANDIDATE_CUTOFFS
from gensr_dist.retrieval.candidate_recall import candidate_metrics, evaluate_candidates
from gensr_dist.retrieval.candidates import CandidateGenerator
from gensr_dist.retrieval.requests import Requests
from gensr_dist.retrieval.stage import open_ranker
from gensr_dist.runs.folder import RunFolder
from gensr_dist.runs.trained_run import TrainedRun


@pytest.fixture(scope="module")
def generator(run: RunFolder, trained: TrainedRun) -> CandidateGenerator:
    return open_ranker(trained, load_config(run.config)).generator


@pytest.mark.parametrize("task", list(Behaviour))
def test_recall_equals_a_count_by_hand(
    trained: TrainedRun, generator: CandidateGenerator, monkeypatch: pytest.MonkeyPatch, task: Behaviour
) -> None:
    monkeypatch.setattr("gensr_dist.retrieval.requests._ROWS", 7)
    monkeypatch.setattr("gensr_dist.retrieval.candidate_recall.CANDIDATE_CUTOFFS", (3, 20))
    monkeypatch.setattr("gensr_dist.evaluation.metrics.CANDIDATE_CUTOFFS", (3, 20))
    rows = trained.store.eval_rows(Split.TEST, task)
    found = candidate_metrics(generator, rows, trained.store, trained.items)
    names = list(generator.channels.proposing(task))
    hits = {name: {3: 0, 20: 0} for name in ("fusion", "union", *names)}
    for row in range(len(rows)):
        requests = Requests.of_rows(trained.store, trained.items, rows.take(np.array([row])))
        candidates, positive = generator.candidates(requests, 20), rows.candidate_RC[row, 0]
        for cutoff in (3, 20):
            hits["fusion"][cutoff] += positive in candidates.item_GK[0, :cutoff]
            by_channel = [positive in candidates.proposals[name][0, :cutoff] for name in names]
            hits["union"][cutoff] += any(by_channel)
            for name, hit in zip(names, by_channel, strict=True):
                hits[name][cutoff] += hit
    shares = {name: {k: count / len(rows) for k, count in counts.items()} for name, counts in hits.items()}
    assert found.task == task
    assert found.count == len(rows)
    assert found.recall == pytest.approx(shares["fusion"])
    assert found.union == pytest.approx(shares["union"])
    assert list(found.channels) == names
    for name in names:
        assert found.channels[name] == pytest.approx(shares[name])
    assert 0 < found.recall[20] < 1


def test_all_rows_are_measured_unless_some_are_drawn(trained: TrainedRun, generator: CandidateGenerator) -> None:
    every = evaluate_candidates(trained, generator, EvaluationConfig(), 0)
    assert [metrics.task for metrics in every] == list(Behaviour)
    for metrics in every:
        assert metrics.count == len(trained.store.eval_rows(Split.TEST, metrics.task))
        assert tuple(metrics.recall) == tuple(metrics.union) == CANDIDATE_CUTOFFS
        shares = list(metrics.recall.values())
        assert shares == sorted(shares)
        for name in metrics.channels:
            assert all(metrics.channels[name][k] <= metrics.union[k] for k in CANDIDATE_CUTOFFS)
    some = evaluate_candidates(trained, generator, dataclasses.replace(EvaluationConfig(), rows=5), 0)
    assert [metrics.count for metrics in some] == [5, 5]


def test_a_positive_that_was_met_before_is_no_candidate(trained: TrainedRun, generator: CandidateGenerator) -> None:
    rows = trained.store.eval_rows(Split.TEST, Behaviour.RECOMMENDATION)
    requests = Requests.of_rows(trained.store, trained.items, rows)
    positive_R = rows.candidate_RC[:, 0].copy()
    positive_R[0] = requests.item_M[0]
    met = dataclasses.replace(rows, candidate_RC=np.column_stack([positive_R, rows.candidate_RC[:, 1:]])).take([0])
    found = candidate_metrics(generator, met, trained.store, trained.items)
    assert set(found.union.values()) == set(found.recall.values()) == {0}
