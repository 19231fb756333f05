"""T5's layer norm. Dimensions: B any batch, D width."""

from torch import Tensor

from gensr_dist.kernels.config import KernelPath
from gensr_dist.kernels.dispatch import runs_triton
from gensr_dist.kernels.rms_norm.torch_path import rms_norm_torch


def rms_norm(x_BD: Tensor, weight_D: Tensor, eps: float, path: KernelPath = "auto") -> Tensor:
    """Scaled rows w x / sqrt(mean(x^2) + eps), over the last dimension, without mean subtraction or bias.

    Statistics and products are float32 (float64 for float64 input), rounded once. Differentiable in `x_BD` and
    `weight_D`, once.

    Args:
        x_BD: any number of leading dimensions.
        weight_D: scales.
        eps: added to the mean square.
        path: that runs, see `dispatch.check_path`.

    Returns:
        Of the shape of `x_BD` and the dtype of `weight_D`, as T5's.

    Raises:
        InputError: `path` is `triton`, which cannot run on these tensors.
        ValueError: the widths differ.
    """
    if weight_D.shape != x_BD.shape[-1:]:
        raise ValueError(f"a weight of shape {tuple(weight_D.shape)} for rows of {x_BD.shape[-1]}")
    if runs_triton("rms_norm", path, x_BD, weight_D):
        from gensr_dist.kernels.rms_norm.triton_path import rms_norm_triton

        return rms_norm_triton(x_BD, weight_D, eps)
    return rms_norm_torch(x_BD, weight_D, eps)
