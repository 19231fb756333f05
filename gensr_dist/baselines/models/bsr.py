"""BSR, "bridging search and recommendation" (Penha et al. 2024, arXiv 2410.16823): T5 whose vocabulary has a token an
item.

Recommendation reads the ids of the history, search the query; the answer is one token,

    p(i | x) = softmax_i(s . v_i),  v_i = P e_i,

with s the decoder's first state. Items of histories are read as the same v_i, as T5's head is its token table. Since an
id is one token, one decoder step ranks all candidates exactly, and no beam leaves any out. Both tasks are trained at
once, by cross entropy. Search knows no history.

Deviations: the softmax is over items alone, as no other token is ever an answer; an item has `width` numbers, projected
to the width of T5; T5 starts from random weights unless `backbone` names a pretrained one. Of a catalogue above 60,000
items, or without a learnt vector an item (`item_input`), the softmax is over the items of the batch, which histories
make likelier the more popular they are; nothing corrects that.

No code is public. Chosen: the input begins with a vector of the task in place of a template, and rate, batch and
dropout, which are not known.

Dimensions: G groups, C candidates, L history, Q query tokens, N = 1 + max(L, Q), U items of the batch, W width of an
item's vector, D width of T5, I items.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from gensr_dist.baselines.contract import BOTH, LogFacts, Losses, RowBaseline, Settings
from gensr_dist.baselines.layers.item_input import ItemInput
from gensr_dist.baselines.layers.ranking_losses import catalogue_cross_entropy, softmax_cross_entropy
from gensr_dist.baselines.layers.t5_reader import T5Reader
from gensr_dist.data.batches.batch import ContextBatch
from gensr_dist.data.batches.like_lengths import read_by_length
from gensr_dist.data.events import Behaviour

_WHOLE = 60_000  # items over all of which a softmax is affordable


@dataclass(frozen=True, kw_only=True)
class BSRSettings(Settings):
    """None are known. With T5's own dropout (.1) a small T5 without pretraining learns far more slowly."""

    history: int = 20
    negatives: int = 0
    """More for the softmax of a batch."""
    warmup_steps: int = 100
    batch: int = 128
    epochs: int = 50
    backbone: str = "nano"
    """Size of T5: `nano`, `mini`, `small`, `base` with random weights; else a Hub name or a folder."""


class BSR(RowBaseline):
    """The next item, or the one that is looked for, is a token."""

    tasks = BOTH

    def __init__(self, settings: BSRSettings, facts: LogFacts) -> None:
        super().__init__()
        width = settings.width
        self.whole = facts.items <= _WHOLE and settings.item_input == "id"
        self.t5 = T5Reader(settings.backbone, facts.words, settings.dropout)
        del self.t5.backbone.t5.lm_head  # items alone are answers
        self.items = ItemInput(settings.item_input, facts.items, width, facts.cf_width, facts.cf_scale, std=0.05)
        self.projection = nn.Linear(width, self.t5.width, bias=False)
        self.task = nn.Embedding(len(BOTH), self.t5.width)
        nn.init.normal_(self.projection.weight, std=width**-0.5)

    def state(self, batch: ContextBatch, item_UW: Tensor) -> Tensor:
        """P^T s [G, W], which an item's vector is compared with."""
        searches_G1 = (batch.task_G == Behaviour.SEARCH)[:, None]
        length = max(batch.history_GL.shape[1], batch.query_GQ.shape[1])
        query_GN = F.pad(batch.query_GQ, (0, length - batch.query_GQ.shape[1]))
        history_GN = F.pad(batch.history_GL, (0, length - batch.history_GL.shape[1]))
        item_GND = self.projection(item_UW)[history_GN]
        text_GND = torch.where(searches_G1[..., None], self.t5.embed(query_GN), item_GND)
        input_GND = torch.cat([self.task(batch.task_G)[:, None], text_GND], dim=1)
        mask_GN = F.pad(torch.where(searches_G1, query_GN, history_GN) != 0, (1, 0), value=True)
        return self.t5.state(input_GND, mask_GN) @ self.projection.weight

    def score(self, batch: ContextBatch) -> Tensor:
        """The logits of the candidates, [G, C]."""
        item_UW = self.items(batch)
        return torch.einsum("gw,gcw->gc", self.state(batch, item_UW), item_UW[batch.candidate_GC])

    def forward(self, batch: ContextBatch) -> Losses:
        """Cross entropy of the positives."""
        item_UW = self.items(batch)
        (state_GW,) = read_by_length(lambda part: (self.state(part, self.items(part)),), batch)
        positive_G = batch.candidate_GC[:, 0]
        if self.whole:
            item_G = batch.item_U[positive_G].clamp_min(0)
            loss_G = catalogue_cross_entropy(state_GW, item_G, self.items.catalogue(), None)
        else:
            # An item stands in a batch once for each fold whose vectors are read: all but the first are left out.
            _, place_U = batch.item_U.unique(return_inverse=True)
            number_U = torch.arange(len(place_U), device=place_U.device)
            first_U = torch.full_like(place_U, len(place_U)).scatter_reduce_(0, place_U, number_U, "amin")[place_U]
            other_GU = (batch.item_U >= 0) & (first_U == number_U) & (batch.item_U != batch.item_U[positive_G][:, None])
            score_GU = state_GW @ item_UW.T
            loss_G = softmax_cross_entropy(score_GU.gather(1, positive_G[:, None]).squeeze(1), score_GU, other_GU)
        return Losses({"ranking": (loss_G * (batch.row_G >= 0)).sum() / batch.step_groups})
