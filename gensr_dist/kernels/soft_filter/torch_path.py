"""The pooling of the soft filter in few torch operations, for CPUs (and GPUs without Triton). Dimensions as in `op.py`.

Nothing of the size [G, M, N] is touched more often than the products need, nothing of the size [G, M, N, D] exists, and
the two parts of the history's gradient meet in one buffer. The weights [G, M, N] are kept for the backward pass: to
compute them again from the log-sum-exp was measured 1.3 to 2.7 times slower (N is small beside D).
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def pool_history(query_GMD: Tensor, history_GND: Tensor, mask_GN: Tensor) -> Tensor:
    """`soft_filter` for any floating dtype and device."""
    return _PoolHistory.apply(query_GMD, history_GND, mask_GN)


class _PoolHistory(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, query_GMD: Tensor, history_GND: Tensor, mask_GN: Tensor) -> Tensor:
        bias_GN = torch.zeros(mask_GN.shape, dtype=query_GMD.dtype, device=query_GMD.device)
        bias_GN = bias_GN.masked_fill_(~mask_GN, torch.finfo(query_GMD.dtype).min)
        weight_GMN = torch.baddbmm(bias_GN[:, None], query_GMD, history_GND.transpose(1, 2)).softmax(-1)
        weight_GMN.masked_fill_(~mask_GN.any(1)[:, None, None], 0.0)
        ctx.save_for_backward(query_GMD, history_GND, weight_GMN)
        return torch.bmm(weight_GMN, history_GND)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_pooled_GMD: Tensor) -> tuple[Tensor, Tensor, None]:
        query_GMD, history_GND, weight_GMN = ctx.saved_tensors
        d_weight_GMN = torch.bmm(d_pooled_GMD, history_GND.transpose(1, 2))
        d_score_GMN = torch.ops.aten._softmax_backward_data(d_weight_GMN, weight_GMN, -1, weight_GMN.dtype)
        d_query_GMD = torch.bmm(d_score_GMN, history_GND)
        d_history_GND = torch.bmm(weight_GMN.transpose(1, 2), d_pooled_GMD)
        d_history_GND.baddbmm_(d_score_GMN.transpose(1, 2), query_GMD)
        return d_query_GMD, d_history_GND, None
