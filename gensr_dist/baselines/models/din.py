"""DIN, the deep interest network (Zhou et al. 2018, arXiv 1706.06978).

k_i = [e_i; c_i], v = sum_l w_l k_l with the candidate's attention over the history (see `MLPTargetAttention`), score =
MLP_{80-40-1}(LN([v; k_i; v * k_i])) + b_i, with sigmoid units. Binary cross entropy with one negative. `weights` "raw"
is the paper's form, "softmax" that of the authors' program. The order of a history does not matter; without one v = 0.

Settings are those of the port in IV4Rec (Adam, rate 1e-4, 512 rows); the authors take SGD with rate 1 and 32 rows.

Deviations: c_i, a category's vector there, is the mean of the title's words, as logs have no categories of their own
(a text from Amazon begins with them); layer norm before the MLP instead of batch norm, by which a row's scores depend
on the other rows (and let labels leak in the first form of the authors' program); no linear layer over v, which that
program has and the paper has not; no user vector, as in that program; neither Dice nor the regularisation by
mini-batches, which are options there.

Dimensions: G groups, C candidates, L history, D width of either half of k, K = 2 D, U items of the batch, T title
tokens, I items.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from gensr_dist.baselines.contract import ONLY_REC, LogFacts, RowBaseline, Settings
from gensr_dist.baselines.layers.item_input import ItemInput
from gensr_dist.baselines.layers.target_attention import MLPTargetAttention
from gensr_dist.data.batches.batch import ContextBatch
from gensr_dist.model.pooling import masked_mean

_PAIRS = 100_000  # of a candidate and a place of a history, at a time: about 200 MB


@dataclass(frozen=True, kw_only=True)
class DINSettings(Settings):
    """As IV4Rec trained it."""

    learning_rate: float = 1e-4
    batch: int = 512
    weights: Literal["softmax", "raw"] = "softmax"
    """Weights of the history. `softmax`: normalised; `raw`: as they are, so that a sum tells how much there is."""
    titles: bool = True
    """Whether words of titles stand where the authors have a category."""


class DIN(RowBaseline):
    """The history as each candidate sees it."""

    tasks = ONLY_REC
    candidates_a_pass: ClassVar[int] = 4_000

    def __init__(self, settings: DINSettings, facts: LogFacts) -> None:
        super().__init__()
        both = settings.width * (2 if settings.titles else 1)
        self.items = ItemInput(settings.item_input, facts.items, settings.width, facts.cf_width, facts.cf_scale)
        self.words = nn.Embedding(facts.words, settings.width, padding_idx=0) if settings.titles else None
        if self.words is not None:
            nn.init.normal_(self.words.weight, std=0.02)
        self.bias_I = nn.Parameter(torch.zeros(facts.items))
        self.attention = MLPTargetAttention(both, settings.weights)
        self.norm = nn.LayerNorm(3 * both)
        self.head = nn.Sequential(
            nn.Linear(3 * both, 80), nn.Sigmoid(), nn.Linear(80, 40), nn.Sigmoid(), nn.Linear(40, 1)
        )

    def score(self, batch: ContextBatch) -> Tensor:
        """Scores [G, C], some candidates at a time."""
        vector_UK = self.items(batch)
        if self.words is not None:
            word_UD = masked_mean(self.words(batch.title_UT), batch.title_UT > 0)
            vector_UK = torch.cat((vector_UK, word_UD), dim=1)
        history_GLK, real_GL = vector_UK[batch.history_GL], batch.history_GL > 0
        bias_U = self.bias_I[batch.item_U.clamp_min(0)]
        at_a_time = max(1, _PAIRS // max(1, real_GL.numel()))
        parts = []
        for slot_GC in batch.candidate_GC.split(at_a_time, dim=1):
            candidate_GCK = vector_UK[slot_GC]
            found_GCK = self.attention(candidate_GCK, history_GLK, real_GL)
            joined = torch.cat((found_GCK, candidate_GCK, found_GCK * candidate_GCK), dim=2)
            parts.append(self.head(self.norm(joined)).squeeze(2) + bias_U[slot_GC])
        return torch.cat(parts, dim=1)
