from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from gensr_dist.data.batches.batch import Batch
from gensr_dist.data.batches.collate import Collator
from gensr_dist.data.config import DataConfig
from gensr_dist.data.events import Behaviour
from gensr_dist.data.item_vectors import ItemVectors
from gensr_dist.data.items import ItemStore
from gensr_dist.data.preparation.local_engine import LocalEngine
from gensr_dist.data.preparation.prepare import prepare
from gensr_dist.data.shards.store import TimelineStore
from gensr_dist.data.timelines.rows import EvalRows
from gensr_dist.data.timelines.splits import Split
from gensr_dist.evaluation.gensr_scorer import GenSRScorer
from gensr_dist.evaluation.metrics import TaskMetrics
from gensr_dist.evaluation.protocol import rank_positives, ranks_and_losses
from gensr_dist.model.config import Likelihood
from gensr_dist.storage.folder import Folder
from tests.conftest import random_log

HISTORY = 25  # longer than some histories, shorter than others


@dataclass
class Input:
    batch: Batch

    def to(self, _: object) -> "Input":
        return self


@dataclass
class Output:
    yes_log_odds_GC: Tensor
    nll_GC: Tensor


@dataclass(eq=False)
class MeanHistory(nn.Module):
    """Scores candidates by the CF product with the mean of the history; noisy in training mode, in step with others."""

    lengths: list[list[int]] = field(default_factory=list)  # of the histories of each pass

    def __post_init__(self) -> None:
        super().__init__()

    def inputs(self, batch: Batch) -> Input:
        return Input(batch)

    def forward(self, inputs: Input, likelihood: Likelihood) -> Output:
        assert not torch.is_grad_enabled()
        assert likelihood == "answers"
        batch = inputs.batch
        self.lengths.append((batch.history_GL > 0).sum(1).tolist())
        if dist.is_initialized():
            dist.all_reduce(torch.zeros(1))  # as ZeRO-3 gathers weights
        history_GE = batch.cf_UE[batch.history_GL].mean(1)
        score_GC = torch.einsum("ge,gce->gc", history_GE, batch.cf_UE[batch.candidate_GC])
        score_GC = score_GC + self.training * torch.randn_like(score_GC)
        return Output(score_GC, F.binary_cross_entropy_with_logits(score_GC, batch.label_GC.float(), reduction="none"))


def scorer(model: MeanHistory, collator: Collator, prompts: int) -> GenSRScorer:
    return GenSRScorer(cast(Any, model), collator, "cpu", prompts)


@pytest.fixture(scope="module")
def collator(small_store: TimelineStore, small_items: ItemStore, small_cf: np.ndarray) -> Collator:
    return Collator(small_store, small_items, ItemVectors(small_cf), HISTORY)


@pytest.fixture(scope="module")
def rows(small_store: TimelineStore) -> EvalRows:
    """In no order, with 10 candidates each."""
    rows = small_store.eval_rows(Split.TEST, Behaviour.RECOMMENDATION)
    return rows.take(np.random.default_rng(0).permutation(len(rows)))


@pytest.mark.parametrize("training", [True, False])
def test_scores_do_not_depend_on_the_budget_and_the_mode_comes_back(
    collator: Collator, rows: EvalRows, training: bool
) -> None:
    model = MeanHistory()
    model.train(training)
    whole = scorer(model, collator, 10 * len(rows)).score(rows)
    assert len(model.lengths) == 1
    assert whole.shape == rows.candidate_RC.shape
    alone = [scorer(model, collator, 10).score(rows.take(np.array([row])))[0] for row in range(len(rows))]
    assert whole == pytest.approx(np.array(alone), abs=1e-5)
    for prompts in (1, 70, 139):
        assert scorer(model, collator, prompts).score(rows) == pytest.approx(whole, abs=1e-5)
    assert model.training is training
    assert whole.std() > 0.1


def test_losses_come_from_the_same_passes(collator: Collator, rows: EvalRows) -> None:
    model = MeanHistory()
    score_RC, loss_R = scorer(model, collator, 70).scores_and_losses(rows)
    assert len(model.lengths) == -(-len(rows) // 7)
    # Log-odds of Yes for the positive, of No for the others.
    sign_C = np.array([1] + [-1] * (score_RC.shape[1] - 1))
    assert loss_R == pytest.approx(np.log1p(np.exp(-sign_C * score_RC.astype(np.float64))).mean(1), rel=1e-5)
    ranked = ranks_and_losses(scorer(MeanHistory(), collator, 70), rows, 100)
    assert ranked.loss_R == pytest.approx(loss_R, rel=1e-5)
    assert np.array_equal(ranked.rank_R, rank_positives(scorer(MeanHistory(), collator, 70), rows, 100))


def test_training_rows_read_the_vectors_that_training_reads(
    small_store: TimelineStore, small_items: ItemStore, small_cf: np.ndarray, rows: EvalRows
) -> None:
    """Vectors without a fold, here all zeros, give every candidate the same score; those of the whole graph do not."""
    vectors = ItemVectors(small_cf, (np.zeros_like(small_cf), np.zeros_like(small_cf)), seed=0)
    collator = Collator(small_store, small_items, vectors, HISTORY)
    model = cast(Any, MeanHistory())
    assert GenSRScorer(model, collator, "cpu", 70).score(rows).std() > 0.1
    assert not GenSRScorer(model, collator, "cpu", 70, training=True).score(rows).any()


@pytest.mark.parametrize(("prompts", "size"), [(9, 1), (10, 1), (79, 7), (80, 8)])
def test_passes_hold_rows_of_similar_length_within_the_budget(
    collator: Collator, rows: EvalRows, prompts: int, size: int
) -> None:
    model = MeanHistory()
    scorer(model, collator, prompts).score(rows)
    assert [len(lengths) for lengths in model.lengths[:-1]] == [size] * (len(model.lengths) - 1)
    assert len(model.lengths[-1]) == len(rows) - size * (len(model.lengths) - 1) > 0
    passed = [length for lengths in model.lengths for length in lengths]
    assert passed == sorted(passed, reverse=True)
    assert min(passed) < max(passed) == HISTORY


def test_a_log_of_many_windows_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Were rows of all windows sorted together, each pass would decode all of them."""
    config = DataConfig(
        split="time",
        valid_share=0.1,
        test_share=0.1,
        vocabulary=300,
        eval_negatives=9,
        users_per_sample=8,
        samples_per_shard=1,
    )
    prepare(LocalEngine(random_log(1)), config, 0, Folder.at(tmp_path / "shards"))
    store = TimelineStore.open(Folder.at(tmp_path / "shards"), shuffle_shards=1)
    cf_IE = np.random.default_rng(1).normal(size=(store.items, 8)).astype(np.float32)
    collator = Collator(store, ItemStore.open(store.folder), ItemVectors(cf_IE), HISTORY)
    rows = store.eval_rows(Split.TEST, Behaviour.RECOMMENDATION)
    rows = rows.take(np.random.default_rng(0).permutation(len(rows)))
    windows = len(list(store.parts_of_users(rows.user_R)))
    assert windows > 2
    decoded: list[object] = []
    decode = TimelineStore._timelines
    monkeypatch.setattr(TimelineStore, "_timelines", lambda *given: decoded.append(given) or decode(*given))
    model, candidates = MeanHistory(), rows.candidate_RC.shape[1]
    size = len(rows) // windows // 2
    scores = scorer(model, collator, size * candidates).score(rows)
    assert len(model.lengths) == -(-len(rows) // size)
    assert len(decoded) <= windows
    whole = scorer(model, collator, len(rows) * candidates).score(rows)
    assert scores == pytest.approx(whole, abs=1e-5)


def test_metrics_do_not_depend_on_the_budget(collator: Collator, rows: EvalRows) -> None:
    def metrics(prompts: int, call: int) -> TaskMetrics:
        ranks = rank_positives(scorer(MeanHistory(), collator, prompts), rows, call)
        return TaskMetrics.from_ranks(ranks, rows.user_R, resamples=0, seed=0)

    expected = metrics(10, 1)  # a row a pass
    assert 0 < expected.ndcg[10].value < 1
    for prompts, call in ((10, 512), (55, 512), (10_000, 512), (40, 30)):
        assert metrics(prompts, call) == expected


def _evaluated_by(rank: int, world: int, folder: str, collator: Collator, rows: EvalRows) -> None:
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=world, timeout=timedelta(seconds=300)
    )
    model = MeanHistory()
    ranks = rank_positives(scorer(model, collator, 45), rows, 20)
    np.save(f"{folder}/{rank}.npy", ranks)
    np.save(f"{folder}/passes-{rank}.npy", [len(lengths) for lengths in model.lengths])
    dist.destroy_process_group()


def test_ranks_make_equally_many_passes(collator: Collator, rows: EvalRows, tmp_path: Path) -> None:
    rows = rows.take(np.arange(64))  # no multiple of the ranks
    mp.start_processes(_evaluated_by, args=(3, str(tmp_path), collator, rows), nprocs=3, start_method="fork")
    expected = rank_positives(scorer(MeanHistory(), collator, 10), rows, 1)
    for rank in range(3):
        assert np.array_equal(np.load(tmp_path / f"{rank}.npy"), expected)
        assert np.load(tmp_path / f"passes-{rank}.npy").tolist() == [4] * 5 + [2]
