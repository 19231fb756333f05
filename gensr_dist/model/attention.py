"""Attention of whole sequences. Dimensions: B sequences, H heads, M queries, N keys, K width of a head, X any."""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from gensr_dist.model.dropout import dropout


def attend(
    query_BHMK: Tensor, key_BHNK: Tensor, value_BHNK: Tensor, bias: Tensor, *, scale: float, dropout_rate: float
) -> Tensor:
    """Values, weighted by the softmax of keys' products with each query; [B, H, M, K].

    Args:
        query_BHMK: asks.
        key_BHNK: answer.
        value_BHNK: of the answers.
        bias: added to the scaled products, of a shape that expands to [B, H, M, N].
        scale: factor of the products.
        dropout_rate: of the weights.
    """
    if query_BHMK.is_cuda or not dropout_rate or torch.compiler.is_compiling():
        return F.scaled_dot_product_attention(
            query_BHMK, key_BHNK, value_BHNK, attn_mask=bias, dropout_p=dropout_rate, scale=scale
        )
    # torch's fused form for CPUs knows no dropout, and what it takes instead looks twice more at all weights.
    score_BHMN = ((query_BHMK * scale) @ key_BHNK.transpose(-1, -2)).add_(bias)
    return dropout(score_BHMN.softmax(-1), dropout_rate) @ value_BHNK


def mask_bias(mask_BX: Tensor, like: Tensor) -> Tensor:
    """0 where the mask is True, else half the lowest number: a row without any visible key stays finite.

    Half, because fused attention multiplies it by the logarithm of e to base 2.
    """
    return torch.zeros(mask_BX.shape, dtype=like.dtype, device=like.device).masked_fill(
        ~mask_BX, torch.finfo(like.dtype).min / 2
    )
