"""The gated gelu on GPUs. Dimensions: B any batch, R rows of it, D width."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from gensr_dist.kernels.gated_gelu import triton_kernels as programs
from gensr_dist.kernels.plan import Plan, power_of_two, tiles_of

_TILE = 1024  # elements a program holds of each tensor


def gated_gelu_triton(gate_BD: Tensor, value_BD: Tensor) -> Tensor:
    """`gated_gelu` for float32, bfloat16 and float16 on a GPU, or in Triton's interpreter."""
    return _GatedGelu.apply(gate_BD, value_BD)


class _GatedGelu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gate_BD: Tensor, value_BD: Tensor) -> Tensor:
        gate_RD, value_RD = _as_rows(gate_BD), _as_rows(value_BD)
        out_BD = torch.empty(gate_BD.shape, dtype=gate_BD.dtype, device=gate_BD.device)
        activate_plan(gate_RD).launch(
            gate_RD, value_RD, out_BD, gate_RD.shape[0], gate_RD.stride(0), value_RD.stride(0)
        )
        ctx.save_for_backward(gate_BD, value_BD)
        return out_BD

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_out_BD: Tensor) -> tuple[Tensor, Tensor]:
        gate_BD, value_BD = ctx.saved_tensors
        gate_RD, value_RD = _as_rows(gate_BD), _as_rows(value_BD)
        d_gate_BD, d_value_BD = torch.empty(2, *gate_BD.shape, dtype=gate_BD.dtype, device=gate_BD.device)
        gradients_plan(gate_RD).launch(
            *(gate_RD, value_RD, d_out_BD.contiguous(), d_gate_BD, d_value_BD),
            *(gate_RD.shape[0], gate_RD.stride(0), value_RD.stride(0)),
        )
        return d_gate_BD, d_value_BD


def activate_plan(gate_RD: Tensor) -> Plan:
    """Forward pass."""
    return _plan(programs.activate, gate_RD)


def gradients_plan(gate_RD: Tensor) -> Plan:
    """Backward pass."""
    return _plan(programs.gradients, gate_RD)


def _plan(program: Any, gate_RD: Tensor) -> Plan:
    R, D = gate_RD.shape
    BD = power_of_two(D, 16, _TILE)
    BR = _TILE // BD
    return Plan(program, tiles_of(R, BR) * tiles_of(D, BD), {"D": D, "BR": BR, "BD": BD}, num_warps=4, num_stages=2)


def _as_rows(x_BD: Tensor) -> Tensor:
    """[R, D] with neighbouring columns, a view where that is possible."""
    x_RD = x_BD.reshape(-1, x_BD.shape[-1])
    return x_RD if x_RD.stride(1) == 1 else x_RD.contiguous()
