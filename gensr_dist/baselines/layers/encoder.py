"""Transformer encoder over histories, with layer norm in the three places where the baselines have it.

Dimensions: G rows, L positions, D width.
"""

from typing import Literal

import torch
from torch import Tensor, nn

from gensr_dist.baselines.layers.attention import MultiHeadAttention, init_linear
from gensr_dist.model.dropout import Dropout

Norm = Literal["post", "pre", "query"]
Activation = Literal["relu", "gelu", "leaky_relu"]

_ACTIVATIONS: dict[Activation, type[nn.Module]] = {"relu": nn.ReLU, "gelu": nn.GELU, "leaky_relu": nn.LeakyReLU}


def feed_forward(width: int, inner: int, dropout: float, activation: Activation) -> nn.Sequential:
    """W_2 a(W_1 x), with dropout behind the activation."""
    return nn.Sequential(nn.Linear(width, inner), _ACTIVATIONS[activation](), Dropout(dropout), nn.Linear(inner, width))


class EncoderBlock(nn.Module):
    """Self-attention and a feed-forward network with residuals.

    post:   x = LN(x + Att(x, x, x)),             x = LN(x + FFN(x))
    pre:    n = LN(x), x = x + Att(n, n, n),      x = x + FFN(LN(x))
    query:  n = LN(x), x = n + Att(n, x, x),      n = LN(x), x = n + FFN(n)

    The last is SASRec's as first published, whose residuals start from what was normalised.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        inner: int,
        dropout: float,
        norm: Norm,
        activation: Activation,
        attention_dropout: float,
        inner_dropout: float,
    ) -> None:
        super().__init__()
        self.norm = norm
        self.attention = MultiHeadAttention(width, heads, attention_dropout)
        self.attention_norm = nn.LayerNorm(width)
        self.feed_forward = feed_forward(width, inner, inner_dropout, activation)
        self.feed_forward_norm = nn.LayerNorm(width)
        self.residual_dropout = Dropout(dropout)

    def forward(self, x_GLD: Tensor, allowed_GLL: Tensor) -> Tensor:
        """Arguments and result as `Encoder.forward`."""
        drop = self.residual_dropout
        if self.norm == "post":
            x_GLD = self.attention_norm(x_GLD + drop(self.attention(x_GLD, x_GLD, allowed_GLL)))
            return self.feed_forward_norm(x_GLD + drop(self.feed_forward(x_GLD)))
        normed_GLD = self.attention_norm(x_GLD)
        if self.norm == "pre":
            x_GLD = x_GLD + drop(self.attention(normed_GLD, normed_GLD, allowed_GLL))
            return x_GLD + drop(self.feed_forward(self.feed_forward_norm(x_GLD)))
        x_GLD = normed_GLD + drop(self.attention(normed_GLD, x_GLD, allowed_GLL))
        normed_GLD = self.feed_forward_norm(x_GLD)
        return normed_GLD + drop(self.feed_forward(normed_GLD))


class Encoder(nn.Module):
    """Blocks, and a last layer norm unless each block ends with one. Without blocks: the identity.

    Args:
        width: D.
        layers: blocks.
        heads: of attention.
        inner: width within the feed-forward networks.
        dropout: of what is added to residuals.
        norm: see `EncoderBlock`.
        activation: of the feed-forward networks.
        attention_dropout: of attention's weights; None: as `dropout`.
        inner_dropout: within the feed-forward networks; None: as `dropout`.
    """

    def __init__(
        self,
        width: int,
        layers: int,
        heads: int,
        inner: int,
        dropout: float,
        norm: Norm,
        activation: Activation,
        *,
        attention_dropout: float | None = None,
        inner_dropout: float | None = None,
    ) -> None:
        super().__init__()
        inside = [dropout if rate is None else rate for rate in (attention_dropout, inner_dropout)]
        self.blocks = nn.ModuleList(
            EncoderBlock(width, heads, inner, dropout, norm, activation, *inside) for _ in range(layers)
        )
        self.final_norm = nn.LayerNorm(width) if layers and norm != "post" else nn.Identity()
        init_linear(self)

    def forward(self, input_GLD: Tensor, allowed_GLL: Tensor) -> Tensor:
        """Encode.

        Args:
            input_GLD: with positions already added.
            allowed_GLL: which position (last) each position may see; any three-dimensional shape that expands to it.

        Returns:
            [G, L, D]. What stands at padding is finite, and for the caller to leave out.
        """
        x_GLD = input_GLD
        for block in self.blocks:
            x_GLD = block(x_GLD, allowed_GLL)
        return self.final_norm(x_GLD)


def causal_mask(length: int, device: torch.device | str | None = None) -> Tensor:
    """Each position may see itself and earlier ones; [1, L, L]."""
    return torch.ones(1, length, length, dtype=torch.bool, device=device).tril()


def padding_mask(real_GL: Tensor) -> Tensor:
    """Every position may see the real ones; [G, 1, L]."""
    return real_GL[:, None, :]
