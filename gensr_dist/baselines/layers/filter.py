"""FMLP's block: a learned filter over the frequencies of a sequence.

Dimensions: G rows, L positions, F = L // 2 + 1 frequencies, D width.
"""

import torch
from torch import Tensor, nn

from gensr_dist.baselines.layers.attention import init_linear
from gensr_dist.baselines.layers.encoder import feed_forward
from gensr_dist.model.dropout import Dropout

_FILTER_STD = 0.02
_EPSILON = 1e-12  # of layer norm, as in the published weights' model


class FilterBlock(nn.Module):
    """x = LN(x + irfft(K * rfft(x))), x = LN(x + W_2 GELU(W_1 x)).

    Padding is not masked: frequencies have no positions, and the published model learns what padding means.

    Args:
        length: L of every input.
        width: D; the feed-forward network is 4 D wide.
        dropout: of what is added to residuals.
    """

    def __init__(self, length: int, width: int, dropout: float) -> None:
        super().__init__()
        self.length = length
        # Complex numbers as pairs, which optimizers and casts know how to handle.
        self.filter_FD2 = nn.Parameter(torch.randn(length // 2 + 1, width, 2) * _FILTER_STD)
        self.filter_norm = nn.LayerNorm(width, eps=_EPSILON)
        self.feed_forward = feed_forward(width, 4 * width, 0.0, "gelu")
        self.feed_forward_norm = nn.LayerNorm(width, eps=_EPSILON)
        self.residual_dropout = Dropout(dropout)
        init_linear(self)

    def forward(self, input_GLD: Tensor, *, last: bool = False) -> Tensor:
        """Filter [G, L, D], padded on the left to the block's length.

        Args:
            input_GLD: the sequences.
            last: give the last position alone, [G, 1, D]: the network behind the filter is most of the work.
        """
        if input_GLD.shape[1] != self.length:
            raise ValueError(f"the filter is for {self.length} positions, not for {input_GLD.shape[1]}")
        frequency_GFD = torch.fft.rfft(input_GLD, dim=1, norm="ortho") * torch.view_as_complex(self.filter_FD2)
        filtered_GLD = torch.fft.irfft(frequency_GFD, n=self.length, dim=1, norm="ortho")
        if last:
            input_GLD, filtered_GLD = input_GLD[:, -1:], filtered_GLD[:, -1:]
        x_GLD = self.filter_norm(input_GLD + self.residual_dropout(filtered_GLD))
        out_GLD: Tensor = self.feed_forward_norm(x_GLD + self.residual_dropout(self.feed_forward(x_GLD)))
        return out_GLD
