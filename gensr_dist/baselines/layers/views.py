"""One of a user's two histories from two sides: by itself, and by what the other history tells of it (UniSAR).

Dimensions: G rows, C candidates, L history, D width, P rows that have both sides, N = 2 P.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gensr_dist.baselines.layers.contrast import BilinearContrast
from gensr_dist.baselines.layers.decoder import DecoderBlock
from gensr_dist.baselines.layers.encoder import padding_mask
from gensr_dist.baselines.layers.history_encoder import BidirectionalEncoder
from gensr_dist.baselines.layers.target_attention import BilinearTargetAttention
from gensr_dist.model.pooling import masked_mean


@dataclass(frozen=True)
class TwoViews:
    """One history, encoded twice."""

    own_GLD: Tensor
    cross_GLD: Tensor
    mask_GL: Tensor  # its entries
    crossed_GL: Tensor  # those of them for which the other history had anything to tell

    def means(self) -> tuple[Tensor, Tensor, Tensor]:
        """Means of both views [G, D], and which rows have both [G]."""
        own_GD, cross_GD = (masked_mean(view_GLD, self.mask_GL) for view_GLD in (self.own_GLD, self.cross_GLD))
        return own_GD, cross_GD, self.crossed_GL.any(1)


class ViewedHistory(nn.Module):
    """Encodes a history by itself, fuses both views, and makes them agree.

    Args:
        length: entries at most.
        width: D.
        layers: blocks of the encoder and of the fusion.
        heads: of attention.
        dropout: of the blocks.
        temperature: of the contrast at first; it is learnt.
    """

    def __init__(self, length: int, width: int, layers: int, heads: int, dropout: float, temperature: float) -> None:
        super().__init__()
        self.encoder = BidirectionalEncoder(length, width, layers, heads, dropout, "relu")
        self.fusion = nn.ModuleList(DecoderBlock(width, heads, width, dropout) for _ in range(layers))
        self.attention = BilinearTargetAttention(width)
        self.contrast = BilinearContrast(width, temperature)

    def views(self, entry_GLD: Tensor, cross_GLD: Tensor, mask_GL: Tensor, told_G: Tensor) -> TwoViews:
        """Both views of a history.

        Args:
            entry_GLD: its entries.
            cross_GLD: what the other history tells of them.
            mask_GL: where they are.
            told_G: whether there is another history.
        """
        return TwoViews(self.encoder(entry_GLD, mask_GL), cross_GLD, mask_GL, mask_GL & told_G[:, None])

    def interest(self, views: TwoViews, candidate_GCD: Tensor) -> Tensor:
        """What of the history matters for each candidate, [G, C, D]; 0 of an empty one."""
        fused_GLD = views.own_GLD
        for block in self.fusion:
            fused_GLD = block(fused_GLD, views.cross_GLD, padding_mask(views.mask_GL), padding_mask(views.crossed_GL))
        found_GCD: Tensor = self.attention(candidate_GCD, fused_GLD, views.mask_GL)
        return found_GCD

    def agreement(self, own_GD: Tensor, cross_GD: Tensor, both_G: Tensor, user_G: Tensor) -> Tensor:
        """InfoNCE of both views' means, each vector against all others of the batch: the mean over the rows.

        Args:
            own_GD: of `TwoViews.means`, as the next two.
            cross_GD: of the same rows.
            both_G: which rows have both and are no padding.
            user_G: rows of one user are no negatives of each other.
        """
        own_PD, cross_PD, user_N = own_GD[both_G], cross_GD[both_G], user_G[both_G].repeat(2)
        loss: Tensor = self.contrast(  # a vector's partner stands on the diagonal
            torch.cat((own_PD, cross_PD)), torch.cat((cross_PD, own_PD)), user_N[:, None] == user_N
        )
        return loss
