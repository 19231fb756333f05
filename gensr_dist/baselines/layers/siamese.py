"""UnifiedSSR's layers: two aligned sequences through the same weights, and the sessions found in each.

Dimensions: G rows, L positions, D width, S windows, K half the width.
"""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from gensr_dist.baselines.layers.attention import MultiHeadAttention, init_linear, xavier_linear
from gensr_dist.baselines.layers.encoder import feed_forward
from gensr_dist.model.dropout import Dropout


class SiameseLayer(nn.Module):
    """x = x + Att(LN(x)), x = x + Att(LN(x), other), x = x + FFN(LN(x)).

    Args:
        width: D.
        heads: of both attentions.
        inner: width within the feed-forward network.
        dropout: within the feed-forward network and of what is added to residuals.
        attention_dropout: of attention's weights.
    """

    def __init__(self, width: int, heads: int, inner: int, dropout: float, attention_dropout: float) -> None:
        super().__init__()
        self.self_attention = MultiHeadAttention(width, heads, attention_dropout)
        self.cross_attention = MultiHeadAttention(width, heads, attention_dropout)
        self.feed_forward = feed_forward(width, inner, dropout, "relu")
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.residual_dropout = Dropout(dropout)
        xavier_linear(self)

    def forward(self, x_GLD: Tensor, other_GLD: Tensor, allowed_GLL: Tensor) -> Tensor:
        """One branch [G, L, D]; `allowed_GLL` says which position of either each position may see."""
        drop, (self_norm, cross_norm, last_norm) = self.residual_dropout, self.norms
        normed_GLD = self_norm(x_GLD)
        x_GLD = x_GLD + drop(self.self_attention(normed_GLD, normed_GLD, allowed_GLL))
        x_GLD = x_GLD + drop(self.cross_attention(cross_norm(x_GLD), other_GLD, allowed_GLL))
        return x_GLD + drop(self.feed_forward(last_norm(x_GLD)))


class SessionWindows(nn.Module):
    """Parts a sequence into windows whose centres and widths follow from what stands in equal parts of it.

    A position stands at r = (l + 1/2) / n of its n positions. Window s has the centre (s + 1/2) / S + tanh(o_1) / S and
    half the width sigmoid(o_2) / S with [o_1; o_2] = W ReLU(mean of part s). Its edges are soft, sigmoids over one
    position, so that W learns.

    Args:
        width: D.
        windows: S.
    """

    def __init__(self, width: int, windows: int) -> None:
        super().__init__()
        self.windows = windows
        self.offset = nn.Linear(width, 2, bias=False)
        init_linear(self)

    def forward(self, x_GLD: Tensor, length_G: Tensor) -> tuple[Tensor, Tensor]:
        """Find the sessions of sequences of these lengths.

        Returns:
            What is added to each position, the means of its windows by how far it lies in them [G, L, D], and the means
            [G, S, D]; 0 where a sequence is shorter than S.
        """
        count = self.windows
        index_L = torch.arange(x_GLD.shape[1], device=x_GLD.device)
        real_GL = (index_L < length_G[:, None]) & (length_G >= count)[:, None]
        place_GL = (index_L.to(x_GLD.dtype) + 0.5) / length_G[:, None].clamp_min(1)
        part_GSL = real_GL[:, None] & (
            (place_GL * count).long()[:, None] == torch.arange(count, device=x_GLD.device)[:, None]
        )
        shift_GS, size_GS = self.offset(_weighted_mean(part_GSL.to(x_GLD.dtype), x_GLD).relu()).unbind(-1)
        centre_GS = (torch.arange(count, device=x_GLD.device) + 0.5 + shift_GS.tanh()) / count
        half_GS = size_GS.sigmoid() / count
        distance_GSL = (place_GL[:, None] - centre_GS[..., None]).abs() - half_GS[..., None]
        weight_GSL = (-distance_GSL * length_G[:, None, None]).sigmoid() * real_GL[:, None]
        mean_GSD = _weighted_mean(weight_GSL, x_GLD)
        return weight_GSL.transpose(1, 2) @ mean_GSD, mean_GSD


def _weighted_mean(weight_GSL: Tensor, x_GLD: Tensor) -> Tensor:
    return (weight_GSL @ x_GLD) / weight_GSL.sum(-1, keepdim=True).clamp_min(1e-6)


def neighbours_likeness(mean_GSD: Tensor) -> Tensor:
    """Mean over neighbouring windows of |cos|, [G]."""
    return F.cosine_similarity(mean_GSD[:, 1:], mean_GSD[:, :-1], dim=-1).abs().mean(1)
