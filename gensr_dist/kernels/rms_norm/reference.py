"""T5's layer norm, as its equation says. Dimensions: B any batch, D width."""

import torch
from torch import Tensor


def rms_norm_reference(x_BD: Tensor, weight_D: Tensor, eps: float) -> Tensor:
    """Scaled rows w x / sqrt(mean(x^2) + eps), without mean or bias; statistics in at least float32, like T5's."""
    wide = x_BD.to(torch.promote_types(x_BD.dtype, torch.float32))
    scaled_BD = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)
    return weight_D * scaled_BD.to(weight_D.dtype)
