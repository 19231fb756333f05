"""UniSAR (Shi et al. 2024, arXiv 2404.09520): both tasks, by how users pass between them.

Vectors: item = tanh(W e), query = tanh(W mean(words)), user = tanh(W u); a search is the sum of its query and its item.
Three encoders of one block: recommendations among themselves (R -> R), searches among themselves (S -> S), and one over
the merged history whose entries see the other kind alone. For each kind the means of its own view and of its cross view
are drawn together, InfoNCE with tanh(z W z') / tau among all vectors of both views. A decoder block fuses: the own view
attends to itself, then to the cross view. Bilinear target attention gives an interest in recommendations and one in
searches; [both; item; user; query], with a learnt vector as the query of a recommendation, goes through PLE, a tower
(128-64) and an MLP (200-80-1) of the task. Loss: binary cross entropy, the mean of a step's recommendations + lambda
times that of its searches; contrast of past queries with their items; contrast of the views; weight decay in the
gradient.

Not copied: rows without one of the histories, which the authors' softmax over nothing makes NaN (here such a history
has no cross view, no contrast and zero interest, and a cross view of nothing is not attended to); sigmoids, which tie
in float32; rows of the same user as each other's negatives.

Deviations: rows of both tasks stand in one step, so that how many are searches varies, and contrasts count once, where
the authors draw a batch of each task and count those of searches lambda times more; the contrast of queries has other
pairs of the batch as negatives, those that share query or item apart, in place of random ones; items have no captions
or categories, users no features; 60 interactions in place of 30 of each history; PLE's experts have no dropout, its
gates no bias; the contrast of views counts both directions of W; the rate does not fall; items, users and words start
from N(0, .1), positions and the layers of encoders and decoders from N(0, .02), since with Xavier's small vectors
beside large positions hundreds of steps pass before anything is learnt, and with his larger layers beside small
positions the order of a history is learnt late.
Chosen: twins share a place of the merged history, and see each other there, one being of the other kind.

Dimensions: G groups, C candidates, L history, D width, U items of the batch, K queries of the batch, B = 2 L.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gensr_dist.baselines.contract import BOTH, SEARCH, LogFacts, Losses, Need, RowBaseline, Settings
from gensr_dist.baselines.layers.attention import xavier_linear
from gensr_dist.baselines.layers.behaviours import Behaviours, alignment
from gensr_dist.baselines.layers.contrast import BilinearContrast
from gensr_dist.baselines.layers.encoder import Encoder
from gensr_dist.baselines.layers.experts import TASKS, TaskNetworks
from gensr_dist.baselines.layers.item_input import ItemInput
from gensr_dist.baselines.layers.queries import QueryProjection
from gensr_dist.baselines.layers.user_table import UserTable
from gensr_dist.baselines.layers.views import TwoViews, ViewedHistory
from gensr_dist.data.batches.batch import ContextBatch
from gensr_dist.data.batches.like_lengths import read_by_length

_EXPERTS, _TOWER = 4, 128
_STD = 0.1  # of items, users and words at first


@dataclass(frozen=True, kw_only=True)
class UniSARSettings(Settings):
    """As published for KuaiSAR."""

    history: int = 60
    negatives: int = 4
    dropout: float = 0.1
    weight_decay: float = 3e-5
    batch: int = 1024
    epochs: int = 100
    layers: int = 1
    heads: int = 2
    input_width: int = 32
    """Width of items, users and words before they are projected."""
    search: float = 0.1
    """Weight lambda of the mean over searches."""
    query_contrast: float = 1e-3
    """Weight of the contrast of queries and items."""
    query_temperature: float = 0.5
    """Initial temperature of that contrast; it is learnt."""
    pairs: int = 1_024
    """Most pairs of a query and an item that are contrasted in a step."""
    view_contrast: float = 0.1
    """Weight of the contrast of views."""
    view_temperature: float = 0.1
    """Initial temperature of that contrast; it is learnt."""


class UniSAR(RowBaseline):
    """Both tasks from three views of both histories."""

    tasks = BOTH
    needs = frozenset({Need.QUERIES})
    candidates_a_pass = 50_000
    coupled_decay = True

    def __init__(self, settings: UniSARSettings, facts: LogFacts) -> None:
        super().__init__()
        width, inner, dropout = settings.width, settings.input_width, settings.dropout
        self.settings = settings
        self.items = ItemInput(settings.item_input, facts.items, inner, facts.cf_width, facts.cf_scale, std=_STD)
        self.item_projection = nn.Sequential(nn.Linear(inner, width), nn.Tanh())
        self.users = nn.Sequential(UserTable(facts.users, inner, std=_STD), nn.Linear(inner, width), nn.Tanh())
        self.words = nn.Embedding(facts.words, inner, padding_idx=0)
        nn.init.normal_(self.words.weight, std=_STD)
        self.query = QueryProjection(self.words, width)
        self.no_query_D = nn.Parameter(torch.randn(width) * width**-0.5)
        self.rec, self.search = (
            ViewedHistory(settings.history, width, settings.layers, settings.heads, dropout, settings.view_temperature)
            for _ in range(TASKS)
        )
        self.merged_position = nn.Embedding(settings.history, width)
        nn.init.normal_(self.merged_position.weight, std=0.02)
        self.cross_encoder = Encoder(width, settings.layers, settings.heads, width, dropout, "post", "relu")
        self.networks = TaskNetworks(5 * width, width, _EXPERTS, _TOWER, dropout)
        for projection in (self.item_projection, self.users):
            xavier_linear(projection)
        self.align = BilinearContrast(width, settings.query_temperature)

    def score(self, batch: ContextBatch) -> Tensor:
        """Logits of the row's own task, [G, C]."""
        return self._read(batch)[0]

    def forward(self, batch: ContextBatch) -> Losses:
        """Losses of a batch; the ranking's is the mean over a row's candidates and over a task's rows, as published."""
        settings = self.settings
        score_GC, own_GD, cross_GD, both_G, *of_search = read_by_length(self._read, batch)
        counts_G, is_search_G = batch.row_G >= 0, batch.task_G == SEARCH
        loss_G = self.ranking(batch, score_GC) / (batch.candidate_GC > 0).sum(1).clamp_min(1)
        rec, search = (
            (loss_G * of_task_G).sum() / of_task_G.sum().clamp_min(1)
            for of_task_G in (counts_G & ~is_search_G, counts_G & is_search_G)
        )
        agreement = self.rec.agreement(own_GD, cross_GD, both_G & counts_G, batch.user_G)
        own_GD, cross_GD, both_G = of_search
        agreement = agreement + self.search.agreement(own_GD, cross_GD, both_G & counts_G, batch.user_G)
        queries = alignment(self.align, batch, *self._vectors(batch), most=settings.pairs)
        parts = {
            "ranking": (rec + settings.search * search) * counts_G.sum(),
            "queries": settings.query_contrast * queries,
            "views": settings.view_contrast * agreement * counts_G.sum(),
        }
        return Losses({name: part / batch.step_groups for name, part in parts.items()})

    def _vectors(self, batch: ContextBatch) -> tuple[Tensor, Tensor]:
        """Those of items [U, D] and of past queries [K, D]."""
        return self.item_projection(self.items(batch)), self.query(batch.query_KQ)

    def _read(self, batch: ContextBatch) -> tuple[Tensor, ...]:
        """Scores [G, C], and `TwoViews.means` of recommendations and of searches."""
        item_UD, query_KD = self._vectors(batch)
        rec, search = self._views(batch, item_UD, query_KD)
        return self._score(batch, item_UD, rec, search), *rec.means(), *search.means()

    def _views(self, batch: ContextBatch, item_UD: Tensor, query_KD: Tensor) -> tuple[TwoViews, TwoViews]:
        """Recommendations and searches, each by itself and by the other."""
        read = Behaviours.of(batch, item_UD, query_KD)
        rec_GL, search_GL = read.rec_GL, read.search_GL
        length = rec_GL.shape[1]
        search_GLD = read.item_GLD + read.query_GLD
        place_L = torch.arange(length, device=item_UD.device).clamp_max(self.settings.history - 1)
        position_BD = self.merged_position(place_L).repeat(2, 1)
        is_search_B = torch.arange(2 * length, device=item_UD.device) >= length
        other_GBB = (is_search_B[:, None] != is_search_B) & torch.cat((rec_GL, search_GL), 1)[:, None]
        cross_GBD = self.cross_encoder(torch.cat((read.item_GLD, search_GLD), 1) + position_BD, other_GBB)
        rec = self.rec.views(read.item_GLD, cross_GBD[:, :length], rec_GL, search_GL.any(1))
        search = self.search.views(search_GLD, cross_GBD[:, length:], search_GL, rec_GL.any(1))
        return rec, search

    def _score(self, batch: ContextBatch, item_UD: Tensor, rec: TwoViews, search: TwoViews) -> Tensor:
        candidate_GCD = item_UD[batch.candidate_GC]
        is_search_G = batch.task_G == SEARCH
        query_GD = torch.where(is_search_G[:, None], self.query(batch.query_GQ), self.no_query_D)
        interests = (self.rec.interest(rec, candidate_GCD), self.search.interest(search, candidate_GCD))
        row_GCD = [each_GD[:, None].expand_as(candidate_GCD) for each_GD in (self.users(batch.user_G), query_GD)]
        score_GC: Tensor = self.networks(torch.cat([*interests, candidate_GCD, *row_GCD], -1), is_search_G[:, None])
        return score_GC
