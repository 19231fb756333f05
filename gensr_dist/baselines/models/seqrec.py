"""SeqRec, Query-SeqRec (He et al. 2022, CIKM): one sequence of items and queries.

A query is the mean of its words; each token has a vector of its type, and a learnt position. Causal transformer, cross
entropy over the catalogue at every place whose next interaction was recommended: without queries it is SASRec with that
loss, whose blocks it has (layer norm behind residuals, where the authors' program normalises queries alone; and the
residual around attention, which it leaves out).

A query stands before the item that it found, but behind it where the interaction was recommended as well: the target's
own query would otherwise be shown in training and never at test. For the same reason no place sees a query of its
target's moment: queries l are seen from place m where l's moment is before that of m's target m + 1, so that what
stands at m is read behind its query in the one case and at the item in the other.

Deviations: 50 interactions with their queries, up to 100 tokens, in place of 50 tokens; no replacement of tokens by
neighbours in a graph of queries and items.

Dimensions: S sequences, L interactions, X = 2 L tokens, D width, U items of the batch, K queries of the batch.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gensr_dist.baselines.contract import LogFacts, Need
from gensr_dist.baselines.layers.behaviours import places
from gensr_dist.baselines.layers.queries import TextMean
from gensr_dist.baselines.models.sasrec import SASRec, SASRecSettings
from gensr_dist.baselines.sequence_losses import SequenceLoss
from gensr_dist.data.batches.sequences import SequenceBatch
from gensr_dist.data.events import Behaviour

_ITEM, _QUERY = 0, 1  # types


@dataclass(frozen=True, kw_only=True)
class SeqRecSettings(SASRecSettings):
    """As published for Diginetica."""

    dropout: float = 0.6
    weight_decay: float = 1e-6
    batch: int = 128
    loss: SequenceLoss = "ce"


class SeqRec(SASRec):
    """Self-attention over what was chosen and what was asked for."""

    needs = frozenset({Need.QUERIES})
    coupled_decay = True

    def __init__(self, settings: SeqRecSettings, facts: LogFacts) -> None:
        super().__init__(settings, facts)
        width = settings.width
        self.position_LD = nn.Parameter(torch.randn(2 * settings.history, width) * 0.02)
        self.type_2D = nn.Parameter(torch.randn(2, width) * 0.02)
        self.words = nn.Embedding(facts.words, width, padding_idx=0)
        nn.init.normal_(self.words.weight, std=0.02)
        self.query = TextMean(self.words)

    def states(self, batch: SequenceBatch, item_UD: Tensor) -> Tensor:
        """What each interaction's end knows, [S, L, D]."""
        real_SL, asked_SL = batch.item_SL > 0, batch.history_query_SL > 0
        query_first_SL = asked_SL & (batch.behaviour_SL == Behaviour.SEARCH.bit)
        query_last_SL = asked_SL & ~query_first_SL
        item_SLD = item_UD[batch.item_SL] + self.type_2D[_ITEM]
        query_SLD = self.query(batch.query_KQ)[batch.history_query_SL] + self.type_2D[_QUERY]
        # Two places an interaction; the second is empty where there is no query.
        first_SLD = torch.where(query_first_SL[..., None], query_SLD, item_SLD)
        second_SLD = torch.where(query_first_SL[..., None], item_SLD, query_SLD)
        token_SXD = torch.stack((first_SLD, second_SLD), 2).flatten(1, 2)
        real_SX = torch.stack((real_SL, real_SL & asked_SL), 2).flatten(1, 2)
        is_query_SX = torch.stack((query_first_SL, query_last_SL), 2).flatten(1, 2)
        position_SXD = self.position_LD[places(real_SX)]
        state_SXD = self.encoder(
            self.dropout(self.norm(token_SXD + position_SXD)),
            real_SX[:, None] & _visible(batch.next_is_later_SL, is_query_SX),
        )
        first_SLD, second_SLD = state_SXD[:, ::2], state_SXD[:, 1::2]
        at_second_SL = query_first_SL | (query_last_SL & batch.next_is_later_SL)
        return torch.where(at_second_SL[..., None], second_SLD, first_SLD)


def _visible(next_is_later_SL: Tensor, is_query_SX: Tensor) -> Tensor:
    """Which token (last) each token may see: itself and earlier ones, of the queries those before its target's moment.

    A query's own place, read or seen only where its moment is over, may see all earlier queries.
    """
    length = is_query_SX.shape[1]
    causal_XX = torch.ones(length, length, dtype=torch.bool, device=is_query_SX.device).tril()
    over_SL = next_is_later_SL.cumsum(1)
    until_SX = over_SL.repeat_interleave(2, 1)  # moments that end with each interaction or before
    before_SX = (over_SL - next_is_later_SL.long()).repeat_interleave(2, 1)
    is_over_SXX = until_SX[:, :, None] > before_SX[:, None, :]
    return causal_XX & (~is_query_SX[:, None, :] | is_query_SX[:, :, None] | is_over_SXX)
