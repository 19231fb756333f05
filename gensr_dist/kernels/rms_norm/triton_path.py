"""T5's layer norm on GPUs. Dimensions: B any batch, R rows of it, D width, P parts of a sum.

The weight's gradient is a sum over all rows: each program adds up its own, and their P sums are added afterwards, in a
fixed order. P does not depend on the GPU, nor do the bits.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from gensr_dist.kernels.plan import Plan, power_of_two, tiles_of
from gensr_dist.kernels.rms_norm import triton_kernels as programs

_PARTS = 512  # programs of the backward pass: about four a multiprocessor of a large GPU
_TILE = 4096  # elements a program holds of each tensor
_WIDEST = 16_384  # whole rows beyond it would not fit the registers


def rms_norm_triton(x_BD: Tensor, weight_D: Tensor, eps: float) -> Tensor:
    """`rms_norm` for float32, bfloat16 and float16 on a GPU, or in Triton's interpreter.

    Raises:
        ValueError: rows are wider than 16,384.
    """
    if x_BD.shape[-1] > _WIDEST:
        raise ValueError(f"rows of {x_BD.shape[-1]}, at most {_WIDEST} fit")
    return _RMSNorm.apply(x_BD, weight_D, eps)


class _RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_BD: Tensor, weight_D: Tensor, eps: float) -> Tensor:
        x_BD, weight_D = x_BD.contiguous(), weight_D.contiguous()
        out_BD = torch.empty_like(x_BD, dtype=weight_D.dtype)
        x_RD = x_BD.view(-1, x_BD.shape[-1])
        normalise_plan(x_RD).launch(x_RD, weight_D, out_BD, x_RD.shape[0], eps)
        ctx.save_for_backward(x_BD, weight_D)
        ctx.eps = eps
        return out_BD

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_out_BD: Tensor) -> tuple[Tensor, Tensor, None]:
        x_BD, weight_D = ctx.saved_tensors
        x_RD = x_BD.view(-1, x_BD.shape[-1])
        plan = gradients_plan(x_RD)
        d_x_BD = torch.empty_like(x_BD)
        part_PD = torch.empty(plan.cells, x_RD.shape[1], dtype=torch.float32, device=x_BD.device)
        plan.launch(x_RD, weight_D, d_out_BD.contiguous(), d_x_BD, part_PD, x_RD.shape[0], ctx.eps)
        return d_x_BD, part_PD.sum(0).to(weight_D.dtype), None


def normalise_plan(x_RD: Tensor) -> Plan:
    """Forward pass."""
    tiles = _tiles(x_RD)
    return Plan(programs.normalise, tiles_of(x_RD.shape[0], tiles["BR"]), {**tiles}, num_warps=4, num_stages=2)


def gradients_plan(x_RD: Tensor) -> Plan:
    """Backward pass."""
    tiles = _tiles(x_RD)
    cells = min(_PARTS, tiles_of(x_RD.shape[0], tiles["BR"]))
    return Plan(programs.gradients, cells, {**tiles}, num_warps=8, num_stages=2)


def _tiles(x_RD: Tensor) -> dict[str, int]:
    R, D = x_RD.shape
    BD = power_of_two(D, 16, _WIDEST)
    return {"D": D, "BR": power_of_two(R, 1, max(1, _TILE // BD)), "BD": BD}
