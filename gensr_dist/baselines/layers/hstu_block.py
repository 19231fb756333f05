"""HSTU's block: attention without a softmax, and a gate in place of a feed-forward network.

Dimensions: S sequences, L positions, N longest input, D width, H heads, E width of a head.
"""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from gensr_dist.baselines.layers.encoder import causal_mask
from gensr_dist.model.dropout import Dropout

_EPSILON = 1e-6  # of layer norm


class HSTUBlock(nn.Module):
    """[U, V, Q, K] = SiLU(W LN(x)), A = SiLU(Q K^T + r) / N, x = x + W_o drop(LN(A V) * U) + b_o.

    A is of places that are not later; r is a learnt bias of the distance of two places, one for all heads. Layer norms
    have no weights, as in the authors' program.

    Args:
        length: N, of the longest input.
        width: D.
        heads: H, which divides D.
        dropout: of what is projected at the end.
    """

    def __init__(self, length: int, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} is not a multiple of {heads} heads")
        self.length, self.heads = length, heads
        self.inner = nn.Linear(width, 4 * width, bias=False)
        self.out = nn.Linear(width, width)
        self.distance_N = nn.Parameter(torch.randn(length) * 0.02)
        self.dropout = Dropout(dropout)
        nn.init.normal_(self.inner.weight, std=0.02)
        nn.init.xavier_uniform_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, x_SLD: Tensor) -> Tensor:
        """From [S, L, D] to [S, L, D]; a place sees itself and earlier ones."""
        size_D, length = x_SLD.shape[2:], x_SLD.shape[1]
        gate_SLD, *parts = F.silu(self.inner(F.layer_norm(x_SLD, size_D, eps=_EPSILON))).chunk(4, dim=2)
        value_SHLE, query_SHLE, key_SHLE = (part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in parts)
        place_L = torch.arange(length, device=x_SLD.device)
        bias_LL = self.distance_N[(place_L[:, None] - place_L).clamp_min(0)]
        weight_SHLL = F.silu(query_SHLE @ key_SHLE.transpose(2, 3) + bias_LL) / self.length
        found_SHLE = (weight_SHLL * causal_mask(length, x_SLD.device)) @ value_SHLE
        found_SLD = F.layer_norm(found_SHLE.transpose(1, 2).flatten(2), size_D, eps=_EPSILON)
        out_SLD: Tensor = x_SLD + self.out(self.dropout(found_SLD * gate_SLD))
        return out_SLD
