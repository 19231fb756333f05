"""GenSR over requests: the model's own numbers, whatever the passes."""

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from gensr_dist.config.root import load_config
from gensr_dist.data.events import Behaviour
from gensr_dist.data.timelines.splits import Split
from gensr_dist.errors import InputError
from gensr_dist.retrieval.request_scorer import RequestScorer
from gensr_dist.retrieval.requests import Requests
from gensr_dist.runs.trained_run import TrainedRun

CANDIDATES = 11


def scorer_of(trained: TrainedRun, prompts: int = 1_000) -> RequestScorer:
    return RequestScorer(trained.model, trained.collator, trained.device, prompts)


def requests_of(trained: TrainedRun, task: Behaviour) -> Requests:
    """Test rows, one cut to no history, some with histories longer than the model reads."""
    rows = trained.store.eval_rows(Split.TEST, task).take(np.arange(9))
    start_R, end_R = trained.store.history_span(rows.user_R)[0], rows.history_end_R.copy()
    end_R[2], end_R[3] = start_R[2], min(end_R[3], start_R[3] + 2)
    requests = Requests.of_rows(trained.store, trained.items, dataclasses.replace(rows, history_end_R=end_R))
    length_G = np.diff(requests.start_G)
    assert length_G.min() == 0 < 2 < trained.collator.history < length_G.max()
    return requests


def candidates_of(trained: TrainedRun, groups: int) -> np.ndarray:
    item_GK = np.argsort(np.random.default_rng(0).random((groups, trained.store.items)), axis=1)[:, :CANDIDATES]
    item_GK[1, 6:] = -1
    return item_GK


def alone(trained: TrainedRun, requests: Requests, group: int, item_K: np.ndarray) -> np.ndarray:
    """The logit of `GenSR.score` of one group's batch."""
    own = requests.take(np.array([group]))
    history_1L, behaviour_1L = own.newest(trained.collator.history)
    token_1Q = np.zeros((1, 4), dtype=np.int64) if requests.token_GQ is None else requests.token_GQ[[group]]
    batch = trained.collator.query(
        history_1L, behaviour_1L, np.array([int(requests.task)]), token_1Q, item_K[None], texts=own.texts or ()
    )
    with torch.inference_mode():
        return trained.model.score(batch)[0].double().logit().cpu().numpy()


@pytest.mark.parametrize("task", list(Behaviour))
@pytest.mark.parametrize("prompts", [1, 4, CANDIDATES, 2 * CANDIDATES + 1, 1_000])
def test_log_odds_are_those_of_each_group_alone(trained: TrainedRun, task: Behaviour, prompts: int) -> None:
    requests = requests_of(trained, task)
    item_GK = candidates_of(trained, len(requests))
    log_odds_GK = scorer_of(trained, prompts).log_odds(requests, item_GK)
    assert log_odds_GK.shape == item_GK.shape
    assert log_odds_GK.dtype == np.float32
    for group, item_K in enumerate(item_GK):
        real_K = item_K >= 0
        expected_K = alone(trained, requests, group, item_K[real_K])
        np.testing.assert_allclose(log_odds_GK[group, real_K], expected_K, atol=2e-4)
    assert log_odds_GK[0].std() > 1e-3


@pytest.mark.parametrize(("prompts", "passes"), [(1_000, 1), (2 * CANDIDATES, 5), (CANDIDATES, 9), (4, 27)])
def test_a_pass_holds_similar_histories_and_no_more_than_asked(
    trained: TrainedRun, monkeypatch: pytest.MonkeyPatch, prompts: int, passes: int
) -> None:
    requests = requests_of(trained, Behaviour.RECOMMENDATION)
    shapes, lengths = [], []
    query = trained.collator.query

    def seen(history_GL: np.ndarray, *others: np.ndarray, **named: Any) -> object:
        shapes.append(others[-1].shape)
        lengths.append((history_GL >= 0).sum(axis=1).tolist())
        return query(history_GL, *others, **named)

    monkeypatch.setattr(trained.collator, "query", seen)
    scorer_of(trained, prompts).log_odds(requests, candidates_of(trained, len(requests)))
    assert len(shapes) == passes
    assert all(groups * width <= prompts for groups, width in shapes)
    flat = [length for part in lengths for length in part]
    assert flat == sorted(flat, reverse=True)


@pytest.mark.parametrize("task", list(Behaviour))
@pytest.mark.parametrize("size", [2, 512])
def test_user_vectors_are_those_of_the_towers(
    trained: TrainedRun, monkeypatch: pytest.MonkeyPatch, task: Behaviour, size: int
) -> None:
    monkeypatch.setattr("gensr_dist.retrieval.request_scorer._GROUPS", size)
    requests = requests_of(trained, task)
    user_GH = scorer_of(trained).users(requests)
    for group in range(len(requests)):
        own = requests.take(np.array([group]))
        token_1Q = np.zeros((1, 4), dtype=np.int64) if own.token_GQ is None else own.token_GQ
        batch = trained.collator.query(
            *own.newest(6), np.array([int(task)]), token_1Q, np.array([[3, 4]]), texts=own.texts or ()
        )
        with torch.inference_mode():
            match = trained.model(trained.model.inputs(batch).to(trained.device), "answers").match
        assert match is not None
        np.testing.assert_allclose(user_GH[group], match.user_GH[0].cpu().numpy(), atol=1e-5)
    assert user_GH[2].any() == (task == Behaviour.SEARCH)  # no history: only the query is known
    assert user_GH[0].any()


def test_scores_that_are_no_numbers_are_refused(trained: TrainedRun) -> None:
    broken = TrainedRun.open(trained.folder, load_config(trained.folder.config))
    with torch.no_grad():
        for parameter in broken.model.parameters():
            parameter.fill_(torch.nan)
    requests = requests_of(broken, Behaviour.RECOMMENDATION)
    with pytest.raises(InputError, match="its weights give scores that are not a number; train again") as caught:
        scorer_of(broken).log_odds(requests, candidates_of(broken, len(requests)))
    assert "\n" not in str(caught.value)
