"""Soft filter, one a view (eq. 5 and 6): what of the history matters for this candidate.

Dimensions: G groups, C candidates, N history positions, D width of the view, H heads, K width of a head, M = C x H, X =
G x C.
"""

import math

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from gensr_dist.kernels.config import KernelPath
from gensr_dist.kernels.soft_filter.op import soft_filter
from gensr_dist.model.attention import attend, mask_bias
from gensr_dist.model.pooling import masked_mean


class SoftFilter(nn.Module):
    """Multi-head cross attention with the candidate as the query.

    alpha_n = softmax_n((W_q e_i) . (W_k e'_n) / sqrt(K)), f_i = sum_n alpha_n W_v e'_n, heads concatenated. For few
    candidates neither keys nor values of the history are formed: (W_q e)^T W_k e'_n = (W_k^T W_q e) . e'_n, and W_v
    moves out of the sum. For many, projecting the history once is cheaper than two projections a candidate and
    products over the whole width a head.
    """

    kernels: KernelPath = "auto"

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
        C, N, D = candidate_GCD.shape[1], history_GND.shape[1], history_GND.shape[2]
        absorb = absorption_pays(candidates=C, positions=N, width=D, heads=self.heads)
        pool = self._absorbed if absorb else self._projected
        return torch.where(mask_GN.any(1)[:, None, None], pool(candidate_GCD, history_GND, mask_GN), self.empty_D)

    def weights(self, candidate_GCD: Tensor, history_GND: Tensor, mask_GN: Tensor) -> Tensor:
        """Alpha of eq. 5, the mean over heads [G, C, N]; zeros for a group without history. Arguments as `forward`."""
        G, C, _ = candidate_GCD.shape
        H, K, _ = self.query_HKD.shape
        query_GHCK = self._queries(candidate_GCD).view(G, C, H, K).transpose(1, 2)
        key_GHNK = F.linear(history_GND, self.key_HKD.flatten(0, 1)).unflatten(-1, (H, K)).transpose(1, 2)
        logit_GHCN = (query_GHCK @ key_GHNK.transpose(2, 3)).float()
        logit_GHCN = logit_GHCN.masked_fill(~mask_GN[:, None, None], torch.finfo(torch.float32).min)
        return logit_GHCN.softmax(-1).mean(1) * mask_GN[:, None]

    def _absorbed(self, candidate_GCD: Tensor, history_GND: Tensor, mask_GN: Tensor) -> Tensor:
        G, C, D = candidate_GCD.shape
        H, K, _ = self.query_HKD.shape
        # One batched product a head: [H, G C, K] x [H, K, D]
        query_HXK = self._queries(candidate_GCD).view(G * C, H, K).transpose(0, 1)
        absorbed_GMD = torch.bmm(query_HXK, self.key_HKD).transpose(0, 1).reshape(G, C * H, D)
        pooled_GMD = soft_filter(absorbed_GMD, history_GND, mask_GN, self.kernels)
        pooled_HXD = pooled_GMD.view(G * C, H, D).transpose(0, 1)
        return torch.bmm(pooled_HXD, self.value_HKD.transpose(1, 2)).transpose(0, 1).reshape(G, C, D)

    def _projected(self, candidate_GCD: Tensor, history_GND: Tensor, mask_GN: Tensor) -> Tensor:
        G, C, D = candidate_GCD.shape
        H, K, _ = self.query_HKD.shape
        query_GHCK = self._queries(candidate_GCD).view(G, C, H, K).transpose(1, 2)
        key_GHNK = F.linear(history_GND, self.key_HKD.flatten(0, 1)).unflatten(-1, (H, K)).transpose(1, 2)
        value_GHNK = F.linear(history_GND, self.value_HKD.flatten(0, 1)).unflatten(-1, (H, K)).transpose(1, 2)
        bias_GN = mask_bias(mask_GN, history_GND)
        out_GHCK = attend(query_GHCK, key_GHNK, value_GHNK, bias_GN[:, None, None], scale=1.0, dropout_rate=0.0)
        return out_GHCK.transpose(1, 2).reshape(G, C, D)

    def _queries(self, candidate_GCD: Tensor) -> Tensor:
        """Projected and scaled [G, C, H K]."""
        return F.linear(candidate_GCD, self.query_HKD.flatten(0, 1) / math.sqrt(self.query_HKD.shape[1]))


def absorption_pays(*, candidates: int, positions: int, width: int, heads: int) -> bool:
    """Whether absorbing the projections costs no more operations than projecting the history.

    A group's multiplications: absorbed 2 C D^2 for keys and values and 2 C H N D for products with the history;
    projected 2 N D^2 and 2 C N D.
    """
    return candidates * (width + (heads - 1) * positions) <= positions * width


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

    def weights(self, candidate_GCD: Tensor, history_GND: Tensor, mask_GN: Tensor) -> Tensor:
        """Equal shares, as `SoftFilter.weights` gives them."""
        share_GN = mask_GN / mask_GN.sum(1, keepdim=True).clamp_min(1)
        return share_GN.to(history_GND.dtype)[:, None].expand(-1, candidate_GCD.shape[1], -1)
