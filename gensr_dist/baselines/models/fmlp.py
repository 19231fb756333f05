"""FMLP-Rec (Zhou et al. 2022, arXiv 2202.13556).

x_l = drop(LN(e_l + p_l)) over a fixed number of places, padded on the left; blocks of a learnt filter over frequencies
and a feed-forward network (see `FilterBlock`); score of an item = x_L . e_i, x_L of the last place. Every prefix is a
row with one negative, the empty one too, and its loss is binary cross entropy.

Settings are those of the authors' weights for Amazon Beauty, which this module holds and which have HR@10 .4935 and
NDCG@10 .3317 there. Filters are not causal, which does no harm as only the last place is read.

Padding is an item of its own, with positions: it goes through the filters as all others do. Deviation: its vector is
learnt, where the authors' stays as it was drawn.

Dimensions: G groups, C candidates, L history, P places, D width, U items of the batch.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gensr_dist.baselines.contract import ONLY_REC, LogFacts, RowBaseline, Settings
from gensr_dist.baselines.layers.filter import FilterBlock
from gensr_dist.baselines.layers.item_input import ItemInput
from gensr_dist.data.batches.batch import ContextBatch
from gensr_dist.model.dropout import Dropout

_EPSILON = 1e-12  # of layer norm, as in the blocks


@dataclass(frozen=True, kw_only=True)
class FMLPSettings(Settings):
    """As the authors trained it on Amazon Beauty."""

    dropout: float = 0.5
    layers: int = 2


class FMLP(RowBaseline):
    """Filters over the frequencies of a history."""

    tasks = ONLY_REC
    by_length = False  # padding is a part of what is filtered

    def __init__(self, settings: FMLPSettings, facts: LogFacts) -> None:
        super().__init__()
        places, width = settings.history, settings.width
        self.items = ItemInput(settings.item_input, facts.items, width, facts.cf_width, facts.cf_scale)
        self.padding_D = nn.Parameter(torch.randn(width) * 0.02)
        self.position_PD = nn.Parameter(torch.randn(places, width) * 0.02)
        self.norm = nn.LayerNorm(width, eps=_EPSILON)
        self.dropout = Dropout(settings.dropout)
        self.blocks = nn.ModuleList(FilterBlock(places, width, settings.dropout) for _ in range(settings.layers))

    def score(self, batch: ContextBatch) -> Tensor:
        """State of the last place . item, [G, C]."""
        item_UD = self.items(batch)
        slot_GP = padded_on_the_left(batch.history_GL, len(self.position_PD))
        input_GPD = torch.where((slot_GP > 0)[:, :, None], item_UD[slot_GP], self.padding_D)
        x_GPD = self.dropout(self.norm(input_GPD + self.position_PD))
        for place, block in enumerate(self.blocks, 1):
            x_GPD = block(x_GPD, last=place == len(self.blocks))
        return torch.einsum("gd,gcd->gc", x_GPD[:, -1], item_UD[batch.candidate_GC])


def padded_on_the_left(slot_GL: Tensor, places: int) -> Tensor:
    """The newest slots, at the end of [G, P]; those of `slot_GL` are padded at the end with 0."""
    length_G1 = (slot_GL > 0).sum(1, keepdim=True)
    place_GP = length_G1 - places + torch.arange(places, device=slot_GL.device)
    return slot_GL.gather(1, place_GP.clamp_min(0)).masked_fill(place_GP < 0, 0)
