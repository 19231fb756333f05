"""Places in a sequence as vectors.

Dimensions: L places, D width, K pairs of columns.
"""

import math

import torch
from torch import Tensor


def sinusoids(length: int, width: int, device: torch.device) -> Tensor:
    """Positions [L, D], float32: sin(l / 10,000^(2k / D)) at 2k, and the cosine of it at 2k + 1."""
    rate_K = torch.exp(torch.arange(0, width, 2, device=device) * (-math.log(10_000) / width))
    angle_LK = torch.arange(length, device=device)[:, None] * rate_K
    return torch.stack((angle_LK.sin(), angle_LK.cos()), dim=2).flatten(1)[:, :width]
