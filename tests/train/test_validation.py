"""The rows that a validation ranks, one by one against what it says of all of them."""

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch

from gensr_dist.data.batches.collate import Collator
from gensr_dist.data.events import Behaviour
from gensr_dist.data.item_vectors import ItemVectors
from gensr_dist.data.items import ItemStore
from gensr_dist.data.shards.store import TimelineStore
from gensr_dist.data.timelines.rows import EvalRows
from gensr_dist.data.timelines.splits import Split
from gensr_dist.errors import InputError
from gensr_dist.evaluation.fit import RowsFit, TaskFit
from gensr_dist.model.config import ModelConfig
from gensr_dist.model.gensr import GenSR
from gensr_dist.train.validation import Validation, ValidationResult

ROWS, HISTORY, FOLDS = 12, 4, 3


@pytest.fixture(scope="module")
def model(small_items: ItemStore) -> GenSR:
    torch.manual_seed(0)
    # Dropout, so that a forgotten evaluation mode is seen.
    return GenSR.build(ModelConfig(cf_heads=2, dropout=0.3), small_items.tokenizer, 8)


@pytest.fixture(scope="module")
def vectors(small_cf: np.ndarray) -> ItemVectors:
    draw = np.random.default_rng(2)
    tables = [3 * draw.normal(size=small_cf.shape).astype(np.float32) for _ in range(FOLDS)]
    return ItemVectors(small_cf, tuple(tables), seed=5)


def validation(store: TimelineStore, items: ItemStore, vectors: ItemVectors, model: GenSR, seed: int = 0) -> Validation:
    engine = SimpleNamespace(
        model=model, zero_stage=0, ranks=SimpleNamespace(device="cpu"), release_weights=lambda: None
    )
    collator = Collator(store, items, vectors, HISTORY)
    return Validation(
        store, collator, cast(Any, engine), tasks=frozenset(Behaviour), rows=ROWS, seed=seed, newest_rows=0
    )


def one_by_one(collator: Collator, model: GenSR, rows: EvalRows) -> tuple[list[float], list[int]]:
    """Loss and rank of each row in a pass of its own; the loss from the logits of Yes and No by the formula."""
    losses, ranks = [], []
    model.eval()
    for row in range(len(rows)):
        with torch.no_grad():
            output = model(model.inputs(collator.evaluation(rows.take(np.array([row])))), "answers")
        log_odds_C = output.yes_log_odds_GC[0].double()
        yes_C = log_odds_C.sigmoid()
        losses.append(-float(yes_C[0].log() + (1 - yes_C[1:]).log().sum()) / len(log_odds_C))
        ranks.append(1 + int((log_odds_C[1:] >= log_odds_C[0]).sum()))
    model.train()
    return losses, ranks


def test_both_samples_of_both_tasks_by_hand(
    small_store: TimelineStore, small_items: ItemStore, vectors: ItemVectors, model: GenSR
) -> None:
    found = validation(small_store, small_items, vectors, model)
    result = found.run()
    assert list(result.tasks) == list(Behaviour)
    for task, fit in result.tasks.items():
        expected = one_by_one(Collator(small_store, small_items, vectors, HISTORY), model, found.samples[task])
        check(fit.validation, *expected)
        training = found.training[task]
        assert training.candidate_RC.shape == found.samples[task].candidate_RC.shape == (ROWS, 10)
        losses, ranks = np.zeros(ROWS), np.zeros(ROWS, dtype=np.int64)
        fold_R = vectors.fold_of(training.user_R)
        for fold in range(FOLDS):  # as if the table without the fold were the whole graph's
            own = np.flatnonzero(fold_R == fold)
            collator = Collator(small_store, small_items, ItemVectors(vectors.without_fold[fold]), HISTORY)
            losses[own], ranks[own] = one_by_one(collator, model, training.take(own))
        assert fit.training is not None
        check(fit.training, losses.tolist(), ranks.tolist())
        assert abs(fit.training.loss - fit.validation.loss) > 1e-4
    assert result.ndcg == np.mean([fit.validation.ndcg for fit in result.tasks.values()])
    assert result == found.run()


def check(fit: RowsFit, losses: list[float], ranks: list[int]) -> None:
    assert fit.count == len(ranks) == ROWS
    assert fit.loss == pytest.approx(np.mean(losses), rel=1e-4)
    assert fit.loss_error == pytest.approx(np.std(losses) / ROWS**0.5, rel=1e-2)
    assert fit.metrics["recall@5"] == pytest.approx(np.mean([rank <= 5 for rank in ranks]))
    assert fit.metrics["mrr"] == pytest.approx(np.mean([1 / rank for rank in ranks]))


def test_the_samples_are_those_of_the_seed(
    small_store: TimelineStore, small_items: ItemStore, vectors: ItemVectors, model: GenSR
) -> None:
    first, again, other = (validation(small_store, small_items, vectors, model, seed) for seed in (0, 0, 1))
    for task in Behaviour:
        assert np.array_equal(first.training[task].candidate_RC, again.training[task].candidate_RC)
        assert not np.array_equal(first.training[task].event_R, other.training[task].event_R)


def without_searches(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = TimelineStore.eval_rows

    def recommendation_only(store: TimelineStore, split: Split, task: Behaviour) -> EvalRows:
        found = rows(store, split, task)
        return found.take(np.arange(0)) if task == Behaviour.SEARCH else found

    monkeypatch.setattr(TimelineStore, "eval_rows", recommendation_only)


def test_a_log_without_searches(
    small_store: TimelineStore,
    small_items: ItemStore,
    vectors: ItemVectors,
    model: GenSR,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    without_searches(monkeypatch)
    found = validation(small_store, small_items, vectors, model)
    result = found.run()
    assert list(result.tasks) == list(found.training) == [Behaviour.RECOMMENDATION]
    assert result.ndcg == result.tasks[Behaviour.RECOMMENDATION].validation.ndcg
    assert result.after(7).tasks.keys() == {"rec"}


def test_a_log_without_validation_rows_is_refused(
    small_store: TimelineStore,
    small_items: ItemStore,
    vectors: ItemVectors,
    model: GenSR,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        TimelineStore, "eval_rows", lambda store, split, task: store._eval_rows(0, split, task).take(np.arange(0))
    )
    with pytest.raises(InputError, match="the validation split holds no positive event"):
        validation(small_store, small_items, vectors, model)


def test_the_line_of_a_validation() -> None:
    def rows(ndcg: float) -> RowsFit:
        return RowsFit(metrics={"ndcg@10": ndcg}, loss=0.0, ndcg_error=0.0, loss_error=0.0, count=1)

    result = ValidationResult(
        tasks={
            Behaviour.RECOMMENDATION: TaskFit(training=rows(0.571), validation=rows(0.458)),
            Behaviour.SEARCH: TaskFit(training=None, validation=rows(0.5)),
        }
    )
    assert str(result) == "rec ndcg@10 0.4580 (training rows 0.5710), search ndcg@10 0.5000, mean 0.4790"
