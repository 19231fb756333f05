"""The pooling of the soft filter, as its equation says. Dimensions as in `op.py`."""

import torch
from torch import Tensor


def soft_filter_reference(query_GMD: Tensor, history_GND: Tensor, mask_GN: Tensor) -> Tensor:
    """o_m = sum_n softmax_n(q_m . h_n) h_n over the unmasked n (eq. 5 and 6, absorbed), in the inputs' precision.

    Returns:
        [G, M, D]; zeros where nothing is unmasked.
    """
    score_GMN = query_GMD @ history_GND.transpose(1, 2)
    score_GMN = score_GMN.masked_fill(~mask_GN[:, None], torch.finfo(score_GMN.dtype).min)
    weight_GMN = score_GMN.softmax(-1).masked_fill(~mask_GN.any(1)[:, None, None], 0.0)
    return weight_GMN @ history_GND
