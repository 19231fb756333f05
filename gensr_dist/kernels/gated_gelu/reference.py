"""The activation of T5's gated feed-forward layer, as its equation says.

Dimensions: B any leading ones, D width.
"""

import math

import torch
from torch import Tensor


def gated_gelu_reference(gate_BD: Tensor, value_BD: Tensor) -> Tensor:
    """Gate gelu(a) times b, gelu(a) = a / 2 (1 + tanh(sqrt(2 / pi) (a + 0.044715 a^3))), operation by operation."""
    inner_BD = math.sqrt(2 / math.pi) * (gate_BD + 0.044715 * gate_BD**3)
    return 0.5 * gate_BD * (1 + torch.tanh(inner_BD)) * value_BD
