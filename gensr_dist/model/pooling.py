"""The mean of a padded sequence.

Dimensions: X any leading ones, L positions, D width.
"""

from torch import Tensor


def masked_mean(vector_XLD: Tensor, mask_XL: Tensor) -> Tensor:
    """Mean over the places where the mask is True [X, D]; 0 if there is none."""
    total_XD = (vector_XLD * mask_XL[..., None]).sum(-2)
    return total_XD / mask_XL.sum(-1, keepdim=True).clamp_min(1)
