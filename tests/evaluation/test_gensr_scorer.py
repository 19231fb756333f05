from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gensr_dist.data.batches.batch import Batch
from gensr_dist.data.batches.collate import Collator
from gensr_dist.data.events import Behaviour
from gensr_dist.data.items import ItemStore
from gensr_dist.data.shards.store import TimelineStore
from gensr_dist.data.timelines.splits import Split
from gensr_dist.evaluation.gensr_scorer import GenSRScorer


@dataclass
class Output:
    yes_log_odds_GC: Tensor


class LastItem(nn.Module):
    """Scores candidates by the CF product with the mean of the history; noisy in training mode."""

    def forward(self, batch: Batch, likelihood: bool = True) -> Output:
        assert not torch.is_grad_enabled()
        history_GE = batch.cf_UE[batch.history_GL].mean(1)
        score_GC = torch.einsum("ge,gce->gc", history_GE, batch.cf_UE[batch.candidate_GC])
        return Output(score_GC + self.training * torch.randn_like(score_GC))


@pytest.mark.parametrize("training", [True, False])
def test_scores_do_not_depend_on_the_batch_and_the_mode_comes_back(
    small_store: TimelineStore, small_items: ItemStore, small_cf: np.ndarray, training: bool
) -> None:
    collator = Collator(small_store, small_items, small_cf, history=5)
    rows = small_store.eval_rows(Split.TEST, Behaviour.RECOMMENDATION)
    model = LastItem().train(training)
    whole = GenSRScorer(model, collator, "cpu", batch=1_000).score(rows)
    assert whole.shape == rows.candidate_RC.shape
    for batch in (1, 7):
        assert GenSRScorer(model, collator, "cpu", batch).score(rows) == pytest.approx(whole, abs=1e-5)
    assert model.training is training
    assert whole.std() > 0.1
