"""USER (Yao et al. 2021, arXiv 2109.15012), reconstructed: both tasks from one sequence of all behaviours.

A text is its words under additive attention. An item that was recommended is itself; a query and the item that it found
are fused by co-attention of their words, tanh(W [query's mean by its weights; item's]). What is wanted now, the query
or, in recommendation, the user's vector, stands behind the history. A session ends where 30 minutes pass without an
event: the session transformer lets every token see its own session, the history transformer all of what came out. An
item is compared with what is wanted, with it after its session and with it after its history: score = sum_k v_k cos_k.
Softmax cross entropy of a positive among its negatives.

From the paper's equations and not from the authors' program, whose co-attention is never trained and in which
candidates meet the histories of other rows of a batch; settings are chosen. Deviations: an item is its id or CF vector
plus its title; words go through no transformer of their own; items are not encoded together with the history; no
hand-made features, and no tanh around the score, which ties; both tasks at once, without a fine-tuning of each.

Dimensions: G groups, C candidates, L history, X = L + 1 tokens, D width, U items, K queries of the batch, Q words of a
query, T of a title, P pairs of a query and an item that it found.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from gensr_dist.baselines.contract import BOTH, SEARCH, LogFacts, Need, RowBaseline, Settings
from gensr_dist.baselines.layers.attention import xavier_linear
from gensr_dist.baselines.layers.co_attention import CoAttention
from gensr_dist.baselines.layers.encoder import Encoder, padding_mask
from gensr_dist.baselines.layers.item_input import ItemInput
from gensr_dist.baselines.layers.pooling import AdditivePooling
from gensr_dist.baselines.layers.user_table import UserTable
from gensr_dist.data.batches.batch import ContextBatch
from gensr_dist.data.negatives.exposures import GAP
from gensr_dist.model.dropout import Dropout

_WANTED, _ITEM, _SEARCH = 0, 1, 2  # types
_SCALE = 5.0  # v at first: cosines alone would leave the softmax almost even


@dataclass(frozen=True, kw_only=True)
class USERSettings(Settings):
    """Chosen."""

    negatives: int = 4
    dropout: float = 0.1
    layers: int = 1
    """Layers of each transformer."""
    heads: int = 8


class USER(RowBaseline):
    """Sessions within a history of everything."""

    tasks = BOTH
    needs = frozenset({Need.QUERIES})
    row_loss = "softmax"
    candidates_a_pass = 50_000

    def __init__(self, settings: USERSettings, facts: LogFacts) -> None:
        super().__init__()
        width = settings.width
        self.items = ItemInput(settings.item_input, facts.items, width, facts.cf_width, facts.cf_scale)
        self.users = UserTable(facts.users, width)
        self.words = nn.Embedding(facts.words, width, padding_idx=0)
        nn.init.normal_(self.words.weight, std=0.02)
        self.pool_title, self.pool_query = AdditivePooling(width, width), AdditivePooling(width, width)
        self.co_attention = CoAttention(width)
        self.fuse = nn.Sequential(nn.Linear(2 * width, width), nn.Tanh())
        xavier_linear(self.fuse)  # beside a random bias all of what is fused would be much the same
        self.type_3D = nn.Parameter(torch.randn(3, width) * 0.02)
        self.position_XD = nn.Parameter(torch.randn(settings.history + 1, width) * 0.02)
        self.norm, self.dropout = nn.LayerNorm(width), Dropout(settings.dropout)
        sizes = (width, settings.layers, settings.heads, 4 * width, settings.dropout)
        self.session_encoder, self.history_encoder = (Encoder(*sizes, "post", "gelu") for _ in range(2))
        self.weight_3 = nn.Parameter(torch.full((3,), _SCALE))

    def score(self, batch: ContextBatch) -> Tensor:
        """Sum of weighted cosines, [G, C]."""
        title_UTD = self.words(batch.title_UT)
        item_UD = self.items(batch) + self.pool_title(title_UTD, batch.title_UT > 0)
        history = self._history(batch, item_UD, title_UTD)
        wanted_GD = self._wanted(batch)
        length_G = (batch.history_GL > 0).sum(1)
        row_G = torch.arange(len(length_G), device=length_G.device)
        token_GXD = F.pad(history, (0, 0, 0, 1))
        token_GXD[row_G, length_G] = wanted_GD + self.type_3D[_WANTED]
        # Places count back from what is wanted.
        index_X = torch.arange(token_GXD.shape[1], device=length_G.device)
        real_GX = index_X <= length_G[:, None]
        place_GX = (length_G[:, None] - index_X).clamp_min(0)
        input_GXD = self.dropout(self.norm(token_GXD + self.position_XD[place_GX]))
        session_GX = sessions(batch.time_GL, batch.now_G, length_G)
        same_GXX = (session_GX[:, :, None] == session_GX[:, None, :]) & padding_mask(real_GX)
        in_session_GXD = self.session_encoder(input_GXD, same_GXX)
        in_history_GXD = self.history_encoder(in_session_GXD, padding_mask(real_GX))
        views_G3D = torch.stack((wanted_GD, in_session_GXD[row_G, length_G], in_history_GXD[row_G, length_G]), 1)
        direction_GD = torch.einsum("k,gkd->gd", self.weight_3, F.normalize(views_G3D, dim=-1))
        candidate_GCD = F.normalize(item_UD, dim=-1)[batch.candidate_GC]
        return torch.einsum("gd,gcd->gc", direction_GD, candidate_GCD)

    def _wanted(self, batch: ContextBatch) -> Tensor:
        """The query, or the user's vector in recommendation, [G, D]."""
        query_GD = self.pool_query(self.words(batch.query_GQ), batch.query_GQ > 0)
        return torch.where((batch.task_G == SEARCH)[:, None], query_GD, self.users(batch.user_G))

    def _history(self, batch: ContextBatch, item_UD: Tensor, title_UTD: Tensor) -> Tensor:
        """Items, and what queries and their items are together, [G, L, D]."""
        asked_GL = (batch.history_query_GL > 0) & (batch.history_GL > 0)
        items = len(batch.item_U)
        code_P, of_found = (batch.history_query_GL * items + batch.history_GL)[asked_GL].unique(return_inverse=True)
        query_P, item_P = code_P // items, code_P % items
        word_PQ = batch.query_KQ[query_P]
        word_PQD = self.words(word_PQ)
        # An item tells its own vector, then its title.
        told_PTD = torch.cat((item_UD[item_P][:, None], title_UTD[item_P]), 1)
        is_told_PT = F.pad(batch.title_UT[item_P] > 0, (1, 0), value=True)
        query_weight_PQ, item_weight_PT = self.co_attention(word_PQD, told_PTD, word_PQ > 0, is_told_PT)
        asked_PD = (query_weight_PQ[:, None].to(word_PQD.dtype) @ word_PQD).squeeze(1)
        found_PD = (item_weight_PT[:, None].to(told_PTD.dtype) @ told_PTD).squeeze(1)
        fused_PD = self.fuse(torch.cat((asked_PD, found_PD), 1)) + self.type_3D[_SEARCH]
        token_GLD = item_UD[batch.history_GL] + self.type_3D[_ITEM]
        return token_GLD.masked_scatter(asked_GL[..., None], fused_PD[of_found])


def sessions(time_GL: Tensor, now_G: Tensor, length_G: Tensor) -> Tensor:
    """Number of the session of each token, int64 [G, X]: the history's, then, behind them, what is wanted now.

    Args:
        time_GL: milliseconds of the history; 0 is padding.
        now_G: of the rows.
        length_G: of the histories.
    """
    index_X = torch.arange(time_GL.shape[1] + 1, device=time_GL.device)
    time_GX = torch.where(index_X < length_G[:, None], F.pad(time_GL, (0, 1)), now_G[:, None])
    return F.pad((time_GX.diff(dim=1) > GAP).cumsum(1), (1, 0))
