"""Soft filter, one a view (eq. 5 and 6): what of the history matters for this candidate.

Dimensions: G groups, C candidates, N history positions, D width of the view, H heads, K width of a head.
"""

import math

import torch
from torch import Tensor, nn


class SoftFilter(nn.Module):
    """Multi-head cross attention with the candidate as the query.

    alpha_n = softmax_n((W_q e_i) . (W_k e'_n) / sqrt(K)), f_i = sum_n alpha_n W_v e'_n, heads concatenated. Neither
    keys nor values of the history are formed: (W_q e)^T W_k e'_n = (W_k^T W_q e) . e'_n, and W_v moves out of the sum.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} is not a multiple of {heads} heads")
        self.heads = heads
        head_width = width // heads
        self.query_HKD = nn.Parameter(torch.empty(heads, head_width, width))
        self.key_HKD = nn.Parameter(torch.empty(heads, head_width, width))
        self.value_HKD = nn.Parameter(torch.empty(heads, head_width, width))
        for weight in (self.query_HKD, self.key_HKD, self.value_HKD):
            nn.init.normal_(weight, std=width**-0.5)
        self.empty_D = nn.Parameter(torch.zeros(width))

    def forward(self, candidate_GCD: Tensor, history_GND: Tensor, mask_GN: Tensor) -> Tensor:
        """Filter each group's history for each of its candidates.

        Args:
            candidate_GCD: candidate embeddings of the view, e_i.
            history_GND: encoded history, e'_n.
            mask_GN: True where there is an interaction; a group without any gets the learned `empty_D`.

        Returns:
            f [G, C, D].
        """
        G, C, D = candidate_GCD.shape
        head_width = D // self.heads
        query_GCHK = torch.einsum("gcd,hkd->gchk", candidate_GCD, self.query_HKD)
        absorbed_GCHD = torch.einsum("gchk,hkd->gchd", query_GCHK, self.key_HKD) / math.sqrt(head_width)
        score_GMN = absorbed_GCHD.reshape(G, C * self.heads, D) @ history_GND.transpose(1, 2)
        score_GMN = score_GMN.masked_fill(~mask_GN[:, None, :], torch.finfo(score_GMN.dtype).min)
        weight_GMN = score_GMN.softmax(-1)
        pooled_GCHD = (weight_GMN @ history_GND).view(G, C, self.heads, D)
        filtered_GCD = torch.einsum("gchd,hkd->gchk", pooled_GCHD, self.value_HKD).reshape(G, C, D)
        return torch.where(mask_GN.any(1)[:, None, None], filtered_GCD, self.empty_D)


class MeanFilter(nn.Module):
    """The ablation without soft filtering: the mean of the encoded history, the same for every candidate."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.empty_D = nn.Parameter(torch.zeros(width))

    def forward(self, candidate_GCD: Tensor, history_GND: Tensor, mask_GN: Tensor) -> Tensor:
        """Same arguments and result shape as `SoftFilter.forward`."""
        mean_GD = masked_mean(history_GND, mask_GN)
        filtered_GD = torch.where(mask_GN.any(1)[:, None], mean_GD, self.empty_D)
        return filtered_GD[:, None, :].expand_as(candidate_GCD)


def masked_mean(history_GND: Tensor, mask_GN: Tensor) -> Tensor:
    """Mean over the unmasked positions [G, D]; zeros for an empty history."""
    kept_GND = history_GND * mask_GN[..., None]
    return kept_GND.sum(1) / mask_GN.sum(1, keepdim=True).clamp_min(1)
