"""Layers of T5 as our fused operations compute them.

Dimensions: B any batch, D width, V vocabulary, A answers.
"""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from gensr_dist.kernels.config import KernelPath
from gensr_dist.kernels.gated_gelu.op import gated_gelu
from gensr_dist.kernels.rms_norm.op import rms_norm
from gensr_dist.model.dropout import Dropout


class RMSNorm(nn.Module):
    """T5's layer norm.

    Args:
        width: D.
        eps: added to the mean square.
    """

    kernels: KernelPath = "auto"

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x_BD: Tensor) -> Tensor:
        """[B, D], see `rms_norm`."""
        return rms_norm(x_BD, self.weight, self.eps, self.kernels)


class FeedForward(nn.Module):
    """W_o relu(W x) of the first T5, or W_o (gelu(W_0 x) * W_1 x) of T5 1.1 and flan-T5.

    Args:
        width: D.
        inner: width between the matrices.
        gated: the second kind.
        dropout: rate.
    """

    kernels: KernelPath = "auto"

    def __init__(self, width: int, inner: int, *, gated: bool, dropout: float) -> None:
        super().__init__()
        self.gated = gated
        if gated:
            self.wi_0, self.wi_1 = (nn.Linear(width, inner, bias=False) for _ in range(2))
        else:
            self.wi = nn.Linear(width, inner, bias=False)
        self.wo = nn.Linear(inner, width, bias=False)
        self.dropout = Dropout(dropout)

    def forward(self, x_BD: Tensor) -> Tensor:
        """[B, D]."""
        inside = gated_gelu(self.wi_0(x_BD), self.wi_1(x_BD), self.kernels) if self.gated else F.relu(self.wi(x_BD))
        return self.wo(self.dropout(inside))


class Head(nn.Module):
    """Logits of all tokens or of some. Reads the rows of its weight itself: ZeRO-3 has them only in a module's pass."""

    def __init__(self, vocabulary: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(vocabulary, width))

    def forward(self, x_BD: Tensor, token_A: Tensor | None = None) -> Tensor:
        """[B, V], or [B, A] in float32: in half precision many candidates of a group would have the same score."""
        if token_A is None:
            return F.linear(x_BD, self.weight)
        return F.linear(x_BD.float(), self.weight[token_A].float())
