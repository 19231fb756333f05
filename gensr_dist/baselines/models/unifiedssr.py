"""UnifiedSSR (Xie et al. 2023, arXiv 2310.13921), corrected: both tasks, a sequence of products beside one of queries.

x = (e + u) sqrt(D) + sinusoid, e being a product's vector or the mean of a query's words. Layers of shared weights read
both branches: self-attention, then attention to the other branch (in recommendation, to itself), then a feed-forward
network. Sessions are windows of learnt place (see `layers.siamese`), whose means are added to what lies in them; those
of one branch are pushed apart, |cos| of neighbours, and those of both branches together, -cos. A recommendation scores
p . e_i, a search w p . e_i + (1 - w) q . e_i with w in [.1, .9], p and q being the newest states. Loss: binary cross
entropy with four negatives, and .1 of the sessions'.

Position l of the products holds the item before the l-th interaction, the first a learnt vector; position l of the
queries what was asked for when that one was found, so that the newest is the query of the search itself. In
recommendation no query is read: the model knows past searches only as products.

Corrected, against the authors' program: layers follow each other, where each reads the first input, so that only the
last acts; masks are causal, where targets are visible in training; the query branch has its own lengths; negatives
avoid all that a user has met; windows have soft edges, where comparisons leave their offsets without a gradient; what
is added is a window's mean, where it is each vector itself.

Deviations: rows, so that a step trains the newest state alone; both tasks at once, without a fine-tuning of each; the
loss of a search is that of its score, where it is the mean of both branches' losses; the rate rises in 400 steps and
stays, where it falls after 4,000.

Dimensions: G groups, C candidates, L = history + 1 positions, D width, U items of the batch, S windows.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from gensr_dist.baselines.contract import BOTH, SEARCH, LogFacts, Losses, Need, RowBaseline, Settings
from gensr_dist.baselines.layers.encoder import causal_mask
from gensr_dist.baselines.layers.item_input import ItemInput
from gensr_dist.baselines.layers.positions import sinusoids
from gensr_dist.baselines.layers.queries import TextMean
from gensr_dist.baselines.layers.siamese import SessionWindows, SiameseLayer, neighbours_likeness
from gensr_dist.baselines.layers.user_table import UserTable
from gensr_dist.data.batches.batch import ContextBatch
from gensr_dist.data.batches.like_lengths import read_by_length
from gensr_dist.model.dropout import Dropout


@dataclass(frozen=True, kw_only=True)
class UnifiedSSRSettings(Settings):
    """As published, but for the rate."""

    width: int = 32
    negatives: int = 4
    dropout: float = 0.5
    warmup_steps: int = 400
    batch: int = 128
    attention_dropout: float = 0.1
    """Dropout rate of attention's weights; `dropout` is of all else."""
    layers: int = 2
    heads: int = 4
    windows: int = 2
    """Sessions of a sequence; 0 leaves them out."""
    sessions: float = 0.1
    """Weight of the sessions' loss."""


class UnifiedSSR(RowBaseline):
    """Two branches through the same layers."""

    tasks = BOTH
    needs = frozenset({Need.QUERIES})

    def __init__(self, settings: UnifiedSSRSettings, facts: LogFacts) -> None:
        super().__init__()
        width, dropout = settings.width, settings.dropout
        self.settings = settings
        self.items = ItemInput(settings.item_input, facts.items, width, facts.cf_width, facts.cf_scale)
        self.first_D = nn.Parameter(torch.randn(width) * 0.02)
        self.users = UserTable(facts.users, width)
        self.words = nn.Embedding(facts.words, width, padding_idx=0)
        nn.init.normal_(self.words.weight, std=0.02)
        self.text = TextMean(self.words)
        self.no_words_D = nn.Parameter(torch.randn(width) * 0.02)
        self.dropout = Dropout(dropout)
        self.layers = nn.ModuleList(
            SiameseLayer(width, settings.heads, 2 * width, dropout, settings.attention_dropout)
            for _ in range(settings.layers)
        )
        self.norm = nn.LayerNorm(width)
        self.windows = SessionWindows(width, settings.windows) if settings.windows else None
        self.mix = nn.Parameter(torch.tensor([0.5]))

    def score(self, batch: ContextBatch) -> Tensor:
        """P . e_i, or the mix of both branches, [G, C]."""
        return self._read(batch)[0]

    def forward(self, batch: ContextBatch) -> Losses:
        """Losses of a batch."""
        score_GC, session_G = read_by_length(self._read, batch)
        parts = {"ranking": self.ranking(batch, score_GC).sum()}
        if self.windows is not None:
            parts["sessions"] = self.settings.sessions * (session_G * (batch.row_G >= 0)).sum()
        return Losses({name: part / batch.step_groups for name, part in parts.items()})

    def _read(self, batch: ContextBatch) -> tuple[Tensor, Tensor]:
        """Scores [G, C] and what the sessions lose [G]."""
        scale = self.settings.width**0.5
        item_UD = self.items(batch) * scale
        is_search_G = batch.task_G == SEARCH
        length_G = (batch.history_GL > 0).sum(1) + 1
        first_G1D = (self.first_D * scale).expand(len(length_G), 1, -1)
        product_GLD = self._input(batch, torch.cat((first_G1D, item_UD[batch.history_GL]), 1))
        query_GLD = self._input(batch, self._queries(batch, length_G) * scale)
        mask_1LL = causal_mask(product_GLD.shape[1], product_GLD.device)  # padding stands behind all that is read
        for layer in self.layers:
            other_GLD = torch.where(is_search_G[:, None, None], query_GLD, product_GLD)
            product_GLD, query_GLD = (
                layer(product_GLD, other_GLD, mask_1LL),
                layer(query_GLD, product_GLD, mask_1LL),
            )
        product_GLD, query_GLD = self.norm(product_GLD), self.norm(query_GLD)
        session_G = product_GLD.new_zeros(len(length_G))
        if self.windows is not None:
            found_GLD, product_GSD = self.windows(product_GLD, length_G)
            asked_GLD, query_GSD = self.windows(query_GLD, length_G)
            product_GLD, query_GLD = product_GLD + found_GLD, query_GLD + asked_GLD
            unlike_queries_G = neighbours_likeness(query_GSD) - F.cosine_similarity(product_GSD, query_GSD, -1).mean(1)
            session_G = neighbours_likeness(product_GSD) + is_search_G * unlike_queries_G
        row_G = torch.arange(len(length_G), device=length_G.device)
        state_GD, asked_GD = product_GLD[row_G, length_G - 1], query_GLD[row_G, length_G - 1]
        share_G1 = torch.where(is_search_G, self.mix.clamp(0.1, 0.9), 1.0)[:, None]
        intent_GD = share_G1 * state_GD + (1 - share_G1) * asked_GD
        return torch.einsum("gd,gcd->gc", intent_GD, item_UD[batch.candidate_GC]), session_G

    def _queries(self, batch: ContextBatch, length_G: Tensor) -> Tensor:
        """Those of the history, then the row's own, [G, L, D]."""
        past_GLD = F.pad(self._query(batch.query_KQ)[batch.history_query_GL], (0, 0, 0, 1))
        is_own_GL = torch.arange(past_GLD.shape[1], device=length_G.device) == length_G[:, None] - 1
        return torch.where(is_own_GL[..., None], self._query(batch.query_GQ)[:, None], past_GLD)

    def _query(self, word_XQ: Tensor) -> Tensor:
        """Mean of the words, a learnt vector where there are none, [X, D]."""
        return torch.where((word_XQ > 0).any(1, keepdim=True), self.text(word_XQ), self.no_words_D)

    def _input(self, batch: ContextBatch, token_GLD: Tensor) -> Tensor:
        place_LD = sinusoids(token_GLD.shape[1], token_GLD.shape[2], token_GLD.device)
        user_GD = self.users(batch.user_G) * self.settings.width**0.5
        input_GLD: Tensor = self.dropout(token_GLD + user_GD[:, None] + place_LD)
        return input_GLD
