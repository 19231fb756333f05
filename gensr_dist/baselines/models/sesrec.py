"""SESRec (Si et al. 2023, arXiv 2305.10822): search-enhanced recommendation by what both histories share.

R = Enc(recommended items + positions), S = Enc(query + item that it found + positions), one block each without a causal
mask, with dropout of what is added to residuals alone. Co-attention gives weights a of R by S and of S by R (see
`layers.co_attention`); entries with a >= 1 / n are similar, the others dissimilar, and if either kind has none it has
all. A triplet loss, max(0, d(c, similar) - d(c, dissimilar) + margin), draws the weighted mean c of a history to the
mean of its similar entries. Target attention over all, the similar and the dissimilar entries of both histories gives
six vectors; an item scores MLP([six; user; item]). Loss: binary cross entropy, contrast of past queries with their
items, triplet; weight decay in the gradient.

Deviations: negatives are drawn uniformly, as those of the evaluation are, where the authors draw in proportion to
popularity; the contrast's negatives are other pairs of the batch (not those that share query or item) in place of 1,024
random ones; queries have no ids, and searches no source; 30 interactions in place of 15 of each history; the rate does
not fall; items, users and words start from N(0, .1) in place of Xavier's smaller vectors, and in turn positions from
N(0, .02) and target attention by Xavier's rule in place of larger ones. Chosen: a history of which nothing is left
gives zero vectors and no triplet; if only the other one is empty, all of a history is similar.

Dimensions: G groups, C candidates, L history, D width, U items of the batch, K queries of the batch, Z = 8 D.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from gensr_dist.baselines.contract import ONLY_REC, LogFacts, Losses, Need, RowBaseline, Settings
from gensr_dist.baselines.layers.attention import xavier_linear
from gensr_dist.baselines.layers.behaviours import Behaviours, alignment
from gensr_dist.baselines.layers.co_attention import CoAttention, split_by_weight
from gensr_dist.baselines.layers.contrast import BilinearContrast
from gensr_dist.baselines.layers.experts import LogitHead
from gensr_dist.baselines.layers.history_encoder import BidirectionalEncoder
from gensr_dist.baselines.layers.item_input import ItemInput
from gensr_dist.baselines.layers.queries import TextMean
from gensr_dist.baselines.layers.target_attention import BilinearTargetAttention
from gensr_dist.baselines.layers.user_table import UserTable
from gensr_dist.data.batches.batch import ContextBatch
from gensr_dist.data.batches.like_lengths import read_by_length
from gensr_dist.model.pooling import masked_mean

_STD = 0.1  # of items, users and words at first


@dataclass(frozen=True, kw_only=True)
class SESRecSettings(Settings):
    """As published for Amazon."""

    width: int = 32
    history: int = 30
    negatives: int = 4
    dropout: float = 0.1
    weight_decay: float = 1e-5
    epochs: int = 30
    layers: int = 1
    heads: int = 4
    word_width: int = 16
    contrast: float = 0.1
    """Weight of the contrast of queries and items."""
    temperature: float = 0.1
    """Initial temperature of the contrast; it is learnt."""
    pairs: int = 1_024
    """Most pairs of a query and an item that are contrasted in a step."""
    triplet: float = 1e-3
    """Weight of the triplet loss."""
    margin: float = 0.1


class SESRec(RowBaseline):
    """Similar and dissimilar interests of two histories."""

    tasks = ONLY_REC
    needs = frozenset({Need.QUERIES})
    candidates_a_pass = 50_000
    coupled_decay = True

    def __init__(self, settings: SESRecSettings, facts: LogFacts) -> None:
        super().__init__()
        width = settings.width
        self.settings = settings
        self.items = ItemInput(settings.item_input, facts.items, width, facts.cf_width, facts.cf_scale, std=_STD)
        self.item_linear = nn.Linear(width, width)
        self.words = nn.Embedding(facts.words, settings.word_width, padding_idx=0)
        nn.init.normal_(self.words.weight, std=_STD)
        self.query = nn.Sequential(TextMean(self.words), nn.Linear(settings.word_width, width))
        self.users = UserTable(facts.users, width, std=_STD)
        sizes = (settings.history, width, settings.layers, settings.heads, settings.dropout)
        self.rec, self.search = (BidirectionalEncoder(*sizes, "leaky_relu", inside_dropout=0.0) for _ in range(2))
        self.attentions = nn.ModuleList(BilinearTargetAttention(width) for _ in range(2))
        self.co_attention = CoAttention(width)
        nn.init.uniform_(self.co_attention.affinity_DD)
        for weight_D in (self.co_attention.of_first_D, self.co_attention.of_second_D):
            nn.init.normal_(weight_D)
        self.head = LogitHead(8 * width, dropout=settings.dropout)
        for part in (self.item_linear, self.query, self.rec, self.search, self.head):
            xavier_linear(part)
        self.align = BilinearContrast(width, settings.temperature)

    def score(self, batch: ContextBatch) -> Tensor:
        """MLP([six interests; user; item]), [G, C]."""
        return self._read(batch)[0]

    def forward(self, batch: ContextBatch) -> Losses:
        """Losses of a batch; the ranking's is the mean over a row's candidates, as published."""
        score_GC, triplet_G = read_by_length(self._read, batch)
        settings = self.settings
        parts = {
            "ranking": (self.ranking(batch, score_GC) / (batch.candidate_GC > 0).sum(1).clamp_min(1)).sum(),
            "contrast": settings.contrast * alignment(self.align, batch, *self._vectors(batch), most=settings.pairs),
            "triplet": settings.triplet * (triplet_G * (batch.row_G >= 0)).sum(),
        }
        return Losses({name: part / batch.step_groups for name, part in parts.items()})

    def _vectors(self, batch: ContextBatch) -> tuple[Tensor, Tensor]:
        """Those of items [U, D] and of past queries [K, D]."""
        return self.item_linear(self.items(batch)), self.query(batch.query_KQ)

    def _read(self, batch: ContextBatch) -> tuple[Tensor, Tensor]:
        """Scores [G, C] and triplet losses [G]."""
        item_UD, query_KD = self._vectors(batch)
        read = Behaviours.of(batch, item_UD, query_KD)
        rec_GLD = self.rec(read.item_GLD, read.rec_GL)
        search_GLD = self.search(read.item_GLD + read.query_GLD, read.search_GL)
        weights = self.co_attention(rec_GLD, search_GLD, read.rec_GL, read.search_GL)
        candidate_GCD = item_UD[batch.candidate_GC]
        interests: list[Tensor] = []
        triplets: list[Tensor] = []
        encoded = ((rec_GLD, read.rec_GL), (search_GLD, read.search_GL))
        for attention, weight_GL, (encoded_GLD, mask_GL) in zip(self.attentions, weights, encoded, strict=True):
            similar_GL, dissimilar_GL = split_by_weight(weight_GL, mask_GL)
            kinds = (mask_GL, similar_GL, dissimilar_GL)
            interests.extend(attention(candidate_GCD, encoded_GLD, kind_GL) for kind_GL in kinds)
            anchor_GD = (weight_GL[:, None].to(encoded_GLD.dtype) @ encoded_GLD).squeeze(1)
            near_GD, far_GD = masked_mean(encoded_GLD, similar_GL), masked_mean(encoded_GLD, dissimilar_GL)
            loss_G = F.triplet_margin_loss(anchor_GD, near_GD, far_GD, self.settings.margin, reduction="none")
            triplets.append(loss_G * mask_GL.any(1))
        user_GCD = self.users(batch.user_G)[:, None].expand_as(candidate_GCD)
        score_GC: Tensor = self.head(torch.cat([*interests, user_GCD, candidate_GCD], -1))
        return score_GC, torch.stack(triplets).sum(0)
