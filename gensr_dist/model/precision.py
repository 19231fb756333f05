"""The precision in which a model computes."""

from typing import TypeVar

import torch
from torch import nn

Model = TypeVar("Model", bound=nn.Module)


def with_weights_in(model: Model, dtype: torch.dtype) -> Model:
    """Round the weights of a model, and return it. Its buffers stay as they are, as DeepSpeed leaves them in training.

    Args:
        model: may have weights that several of its modules share.
        dtype: that it computes in.
    """
    for weight in model.parameters():
        weight.data = weight.data.to(dtype)
    return model
