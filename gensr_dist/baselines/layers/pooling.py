"""One vector out of a padded sequence.

Dimensions: X any leading ones, L positions, D width, G rows where X is one dimension.
"""

import torch
from torch import Tensor, nn

from gensr_dist.baselines.layers.precision import wide


def masked_softmax(logit_XL: Tensor, mask_XL: Tensor) -> Tensor:
    """Softmax over the places where the mask is True, 0 at the others, even if there is none; in float32 at least."""
    lowest = torch.finfo(wide(logit_XL).dtype).min
    return wide(logit_XL).masked_fill(~mask_XL, lowest).softmax(-1) * mask_XL


def newest(vector_GLD: Tensor, mask_GL: Tensor) -> Tensor:
    """The last of the vectors where the mask is True, as padding stands at the end; [G, D], 0 if there is none."""
    length_G = mask_GL.sum(1)
    place_G = (length_G - 1).clamp_min(0)
    return vector_GLD[torch.arange(len(length_G), device=vector_GLD.device), place_G] * (length_G > 0)[:, None]


class AdditivePooling(nn.Module):
    """sum_j a_j c_j with a = softmax_j(v^T tanh(U c_j + b)).

    Args:
        width: D.
        inner: width of U c.
    """

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(width, inner)
        self.logit = nn.Linear(inner, 1, bias=False)

    def forward(self, vector_XLD: Tensor, mask_XL: Tensor) -> Tensor:
        """Pool; [X, D], 0 where the mask has no True."""
        weight_XL = masked_softmax(self.logit(self.hidden(vector_XLD).tanh()).squeeze(-1), mask_XL)
        return (weight_XL.to(vector_XLD.dtype)[..., None, :] @ vector_XLD).squeeze(-2)
