"""Decoder block: a sequence that looks at itself and then at another.

Dimensions: G rows, L positions, M positions of the memory, D width.
"""

from torch import Tensor, nn

from gensr_dist.baselines.layers.attention import MultiHeadAttention, init_linear
from gensr_dist.baselines.layers.encoder import feed_forward
from gensr_dist.model.dropout import Dropout


class DecoderBlock(nn.Module):
    """x = LN(x + Att(x, x)), x = LN(x + Att(x, memory)), x = LN(x + FFN(x)).

    Args:
        width: D.
        heads: of both attentions.
        inner: width within the feed-forward network.
        dropout: of attention's weights, within the feed-forward network and of what is added to residuals.
    """

    def __init__(self, width: int, heads: int, inner: int, dropout: float) -> None:
        super().__init__()
        self.self_attention = MultiHeadAttention(width, heads, dropout)
        self.self_norm = nn.LayerNorm(width)
        self.cross_attention = MultiHeadAttention(width, heads, dropout)
        self.cross_norm = nn.LayerNorm(width)
        self.feed_forward = feed_forward(width, inner, dropout, "relu")
        self.feed_forward_norm = nn.LayerNorm(width)
        self.residual_dropout = Dropout(dropout)
        init_linear(self)

    def forward(self, input_GLD: Tensor, memory_GMD: Tensor, allowed_GLL: Tensor, allowed_GLM: Tensor) -> Tensor:
        """Decode; [G, L, D].

        Args:
            input_GLD: the sequence.
            memory_GMD: what it looks at.
            allowed_GLL: which of its positions (last) each position may see; any shape that expands to it.
            allowed_GLM: which position of the memory; where there is none, the sequence stays as it is.
        """
        drop = self.residual_dropout
        x_GLD = self.self_norm(input_GLD + drop(self.self_attention(input_GLD, input_GLD, allowed_GLL)))
        x_GLD = self.cross_norm(x_GLD + drop(self.cross_attention(x_GLD, memory_GMD, allowed_GLM)))
        out_GLD: Tensor = self.feed_forward_norm(x_GLD + drop(self.feed_forward(x_GLD)))
        return out_GLD
