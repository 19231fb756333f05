"""Two towers, the industrial standard (Covington et al. 2016; Yi et al. 2019, RecSys, 10.1145/3298689.3346996).

User tower: MLP([history; f(q); task]), the history as [mean of its items; newest one] or as a learnt weighted mean.
Item tower: MLP(id or CF vector + mean of the title's words). Score: cosine / temperature. Loss: softmax of the positive
among all candidates of the batch, each logit less the logarithm of how often a row is expected to bring that item:
popularity / training events as its positive, and N / I as one of its N uniform negatives (mixed negative sampling, Yang
et al. 2020); without negatives this is Yi's correction by log popularity. A row's own item is no negative where it
stands elsewhere in the batch.

Chosen: all of the sizes, and one pair of towers for both tasks: a recommendation has the vector of a query without
words. Expected counts are those of the log, not estimated from the stream. With CF vectors, items of other rows have
the vectors of those rows' folds.

Dimensions: G groups, C candidates, L history, D width, U items of the batch, I items.
"""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from gensr_dist.baselines.contract import BOTH, LogFacts, Losses, RowBaseline, Settings
from gensr_dist.baselines.layers.item_input import ItemInput
from gensr_dist.baselines.layers.pooling import AdditivePooling
from gensr_dist.baselines.layers.precision import wide
from gensr_dist.baselines.layers.queries import QueryProjection, TextMean
from gensr_dist.data.batches.batch import ContextBatch
from gensr_dist.model.dropout import Dropout
from gensr_dist.model.pooling import masked_mean


@dataclass(frozen=True, kw_only=True)
class TwoTowerSettings(Settings):
    """All of them chosen."""

    negatives: int = 4
    dropout: float = 0.1
    epochs: int = 100
    pooling: Literal["mean", "attention"] = "mean"
    """Pooling of the history. `mean`: its mean and its newest item; `attention`: a learnt weighted mean."""
    temperature: float = 0.1
    correction: bool = True
    """Whether logits are corrected by how often items are drawn."""


class TwoTower(RowBaseline):
    """A vector of who asks for what, near to those of items."""

    tasks = BOTH
    by_length = False
    log_chance_I: Tensor

    def __init__(self, settings: TwoTowerSettings, facts: LogFacts) -> None:
        super().__init__()
        width = settings.width
        self.temperature = settings.temperature
        self.items = ItemInput(settings.item_input, facts.items, width, facts.cf_width, facts.cf_scale)
        self.words = nn.Embedding(facts.words, width, padding_idx=0)
        nn.init.normal_(self.words.weight, std=0.02)
        self.title = TextMean(self.words)
        self.query = QueryProjection(self.words, width)
        self.task = nn.Embedding(2, width)
        nn.init.normal_(self.task.weight, std=0.02)
        self.pooling = AdditivePooling(width, width) if settings.pooling == "attention" else None
        parts = 4 if self.pooling is None else 3
        self.user_tower = _tower(parts * width, width, settings.dropout)
        self.item_tower = _tower(width, width, settings.dropout)
        self.register_buffer("log_chance_I", _log_chances(settings, facts), persistent=False)

    def score(self, batch: ContextBatch) -> Tensor:
        """Cosine / temperature, [G, C]."""
        user_GD, item_UD = self._towers(batch)
        return torch.einsum("gd,gcd->gc", user_GD, item_UD[batch.candidate_GC]) / self.temperature

    def forward(self, batch: ContextBatch) -> Losses:
        """Losses of a batch."""
        user_GD, item_UD = self._towers(batch)
        logit_GU = wide(user_GD @ item_UD.T) / self.temperature - self.log_chance_I[batch.item_U.clamp_min(0)]
        positive_G1 = batch.candidate_GC[:, :1]
        own_GU = batch.item_U[positive_G1] == batch.item_U
        # The softmax is over distinct items, each as often as it is a candidate.
        count_U = torch.bincount(batch.candidate_GC.flatten(), minlength=len(batch.item_U))
        count_U[0] = 0
        others_GU = (logit_GU + count_U.log()).masked_fill(own_GU, -torch.inf)
        positive_logit_G1 = logit_GU.gather(1, positive_G1)
        loss_G = torch.cat((positive_logit_G1, others_GU), dim=1).logsumexp(1) - positive_logit_G1[:, 0]
        return Losses({"ranking": (loss_G * (batch.row_G >= 0)).sum() / batch.step_groups})

    def _towers(self, batch: ContextBatch) -> tuple[Tensor, Tensor]:
        """Vectors of length 1 of users [G, D] and items [U, D]."""
        input_UD = self.items(batch) + self.title(batch.title_UT)
        history_GLD, real_GL = input_UD[batch.history_GL], batch.history_GL > 0
        parts = [self.query(batch.query_GQ), self.task(batch.task_G)]
        if self.pooling is not None:
            parts.append(self.pooling(history_GLD, real_GL))
        else:
            newest_G1 = (real_GL.sum(1, keepdim=True) - 1).clamp_min(0)
            parts += [masked_mean(history_GLD, real_GL), input_UD[batch.history_GL.gather(1, newest_G1)[:, 0]]]
        user_GD = self.user_tower(torch.cat(parts, dim=1))
        return F.normalize(user_GD, dim=1), F.normalize(self.item_tower(input_UD), dim=1)


def _tower(inputs: int, width: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, 2 * width), nn.ReLU(), Dropout(dropout), nn.Linear(2 * width, width))


def _log_chances(settings: TwoTowerSettings, facts: LogFacts) -> Tensor:
    """Logarithm of how often a row's share of a batch is expected to hold each item, [I]; 0 without correction."""
    popularity_I = torch.as_tensor(facts.popularity_I.astype("float64"))
    if not settings.correction:
        return torch.zeros(len(popularity_I))
    share_I = popularity_I / popularity_I.sum().clamp_min(1)
    return (share_I + settings.negatives / facts.items).clamp_min(1e-12).log().float()
