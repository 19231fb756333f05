"""What of a history matters for a candidate: attention with the candidate as the query.

Dimensions: G rows, C candidates, L history, D width, X = 80 hidden units of the first layer.
"""

from typing import Literal

import torch
from torch import Tensor, nn

from gensr_dist.baselines.layers.pooling import masked_softmax
from gensr_dist.baselines.layers.precision import wide

Weights = Literal["softmax", "raw"]

_HIDDEN = (80, 40)


class BilinearTargetAttention(nn.Module):
    """sum_l a_l h_l with a = softmax_l(h_l^T W e)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight_DD = nn.Parameter(torch.empty(width, width))
        nn.init.xavier_normal_(self.weight_DD)

    def forward(self, candidate_GCD: Tensor, history_GLD: Tensor, mask_GL: Tensor) -> Tensor:
        """Pool the history for each candidate.

        Args:
            candidate_GCD: e.
            history_GLD: h.
            mask_GL: True where there is an interaction.

        Returns:
            [G, C, D], 0 for an empty history.
        """
        logit_GCL = candidate_GCD @ self.weight_DD.T @ history_GLD.transpose(1, 2)
        return masked_softmax(logit_GCL, mask_GL[:, None]).to(history_GLD.dtype) @ history_GLD


class MLPTargetAttention(nn.Module):
    """DIN's: sum_l w_l h_l with w of a_l = MLP([k; h_l; k - h_l; k * h_l]), 4 D - 80 - 40 - 1 with sigmoids, k the
    candidate.

    Args:
        width: D.
        weights: softmax: of a / sqrt(D), as in the authors' program; raw: a itself, as in their paper, so that a
            sum keeps how much there is to be found.
    """

    def __init__(self, width: int, weights: Weights = "softmax") -> None:
        super().__init__()
        self.weights = weights
        self.first = nn.Linear(4 * width, _HIDDEN[0])
        self.rest = nn.Sequential(nn.Sigmoid(), nn.Linear(*_HIDDEN), nn.Sigmoid(), nn.Linear(_HIDDEN[1], 1))

    def forward(self, candidate_GCD: Tensor, history_GLD: Tensor, mask_GL: Tensor) -> Tensor:
        """Arguments and result as `BilinearTargetAttention.forward`."""
        logit_GCL = self.rest(self._first(candidate_GCD, history_GLD)).squeeze(-1)
        if self.weights == "softmax":
            weight_GCL = masked_softmax(logit_GCL / history_GLD.shape[2] ** 0.5, mask_GL[:, None])
        else:
            weight_GCL = wide(logit_GCL).masked_fill(~mask_GL[:, None], 0.0)
        return weight_GCL.to(history_GLD.dtype) @ history_GLD

    def _first(self, candidate_GCD: Tensor, history_GLD: Tensor) -> Tensor:
        """First layer [G, C, L, X]; of its four products only one is of pairs, the others are of either side."""
        candidate_XD, history_XD, difference_XD, product_XD = self.first.weight.chunk(4, dim=1)
        of_candidate_GCX = candidate_GCD @ (candidate_XD + difference_XD).T + self.first.bias
        of_history_GLX = history_GLD @ (history_XD - difference_XD).T
        of_pair_GCLX = (candidate_GCD[:, :, None] * history_GLD[:, None]) @ product_XD.T
        return of_pair_GCLX + of_candidate_GCX[:, :, None] + of_history_GLX[:, None]
