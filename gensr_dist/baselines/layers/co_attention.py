"""How much each interaction of one history has to do with the other history (SESRec).

Dimensions: G rows, R positions of the one history, S of the other, L of either, D width.
"""

import torch
from torch import Tensor, nn

from gensr_dist.baselines.layers.pooling import masked_softmax

_ROUNDING = 1e-5  # of n a, which is 1 where all weights are equal


class CoAttention(nn.Module):
    """A = tanh(R W S^T), a_S = softmax(w_1^T R^T A), a_R = softmax(w_2^T S^T A^T), over valid positions."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.affinity_DD = nn.Parameter(torch.empty(width, width))
        self.of_first_D = nn.Parameter(torch.empty(width))
        self.of_second_D = nn.Parameter(torch.empty(width))
        for weight in self.parameters():
            nn.init.normal_(weight, std=width**-0.5)

    def forward(
        self, first_GRD: Tensor, second_GSD: Tensor, first_mask_GR: Tensor, second_mask_GS: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Weigh both.

        Args:
            first_GRD: one encoded history.
            second_GSD: the other.
            first_mask_GR: True where the first has an interaction.
            second_mask_GS: the same of the second.

        Returns:
            a_R [G, R] and a_S [G, S], each of sum 1, equal shares if the other history is empty; 0 for an empty one.
        """
        affinity_GRS = (first_GRD @ self.affinity_DD @ second_GSD.transpose(1, 2)).tanh()
        first_GR = (first_GRD @ self.of_first_D).masked_fill(~first_mask_GR, 0.0)
        second_GS = (second_GSD @ self.of_second_D).masked_fill(~second_mask_GS, 0.0)
        second_logit_GS = (first_GR[:, None] @ affinity_GRS).squeeze(1)
        first_logit_GR = (affinity_GRS @ second_GS[..., None]).squeeze(2)
        return masked_softmax(first_logit_GR, first_mask_GR), masked_softmax(second_logit_GS, second_mask_GS)


def split_by_weight(weight_GL: Tensor, mask_GL: Tensor) -> tuple[Tensor, Tensor]:
    """Similar positions, whose weight is at least an equal share, and dissimilar ones; each is all if it has none."""
    similar_GL = mask_GL & (weight_GL * mask_GL.sum(1, keepdim=True) >= 1 - _ROUNDING)
    dissimilar_GL = mask_GL & ~similar_GL
    return (
        torch.where(similar_GL.any(1, keepdim=True), similar_GL, mask_GL),
        torch.where(dissimilar_GL.any(1, keepdim=True), dissimilar_GL, mask_GL),
    )
