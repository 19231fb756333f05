"""NRHUB (Wu et al. 2019, EMNLP-IJCNLP, D19-1493): a user from heterogeneous behaviours, for recommendation.

Three views: items that were recommended, past queries, items that were found by searching. A view's vector and the
user's vector of the views' are both additive attention, sum_j a_j c_j with a = softmax_j(v^T tanh(U c_j + b)); an item
scores u . e_i. Softmax cross entropy of one positive among five. Views without an entry take no part.

Deviations: items are ids or CF vectors, and a query is tanh(W mean(w_j) + b), in place of convolutions over words, as
in the versions that later comparisons of search and recommendation used; steps of 256 rows in place of 30, and as many
epochs as validation wants in place of 2; no dropout of candidates. An interaction that was both recommended and
searched for stands in both of its views.

Dimensions: G groups, L history, D width, C candidates, V = 3 views, U items of the batch.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gensr_dist.baselines.contract import ONLY_REC, LogFacts, Need, RowBaseline, Settings
from gensr_dist.baselines.layers.attention import xavier_linear
from gensr_dist.baselines.layers.behaviours import Behaviours
from gensr_dist.baselines.layers.item_input import ItemInput
from gensr_dist.baselines.layers.pooling import AdditivePooling
from gensr_dist.baselines.layers.queries import TextMean
from gensr_dist.data.batches.batch import ContextBatch
from gensr_dist.model.dropout import Dropout

_VIEWS = 3


@dataclass(frozen=True, kw_only=True)
class NRHUBSettings(Settings):
    """As published, but for the batch and the width, which was that of its convolutions."""

    negatives: int = 4
    dropout: float = 0.2
    attention: int = 200
    """Width of the attention's hidden layer, U c."""


class NRHUB(RowBaseline):
    """Three bags of behaviours."""

    tasks = ONLY_REC
    needs = frozenset({Need.QUERIES})
    row_loss = "softmax"

    def __init__(self, settings: NRHUBSettings, facts: LogFacts) -> None:
        super().__init__()
        width = settings.width
        self.items = ItemInput(settings.item_input, facts.items, width, facts.cf_width, facts.cf_scale)
        self.words = nn.Embedding(facts.words, width, padding_idx=0)
        nn.init.normal_(self.words.weight, std=0.02)
        self.query = nn.Sequential(TextMean(self.words), nn.Linear(width, width), nn.Tanh())
        xavier_linear(self.query)  # words start small: beside a bias of other size all queries would be the same
        self.dropout = Dropout(settings.dropout)
        self.pool_views = nn.ModuleList(AdditivePooling(width, settings.attention) for _ in range(_VIEWS))
        self.pool_user = AdditivePooling(width, settings.attention)

    def user(self, batch: ContextBatch, item_UD: Tensor) -> Tensor:
        """Vectors of the rows' users, [G, D]; 0 without a history."""
        read = Behaviours.of(batch, item_UD, self.query(batch.query_KQ))
        item_GLD, query_GLD = self.dropout(read.item_GLD), self.dropout(read.query_GLD)
        views = ((item_GLD, read.rec_GL), (query_GLD, read.asked_GL), (item_GLD, read.search_GL))
        view_GVD = torch.stack(
            [pool(entry_GLD, mask_GL) for pool, (entry_GLD, mask_GL) in zip(self.pool_views, views, strict=True)], 1
        )
        user_GD: Tensor = self.pool_user(view_GVD, torch.stack([mask_GL.any(1) for _, mask_GL in views], 1))
        return user_GD

    def score(self, batch: ContextBatch) -> Tensor:
        """U . e_i, [G, C]."""
        item_UD = self.items(batch)
        return torch.einsum("gd,gcd->gc", self.user(batch, item_UD), item_UD[batch.candidate_GC])
