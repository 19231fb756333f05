"""Where sums of exponentials are taken in single precision at least."""

import torch
from torch import Tensor


def wide(x: Tensor) -> Tensor:
    """`x` in float32, or as it is where that is wider."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
