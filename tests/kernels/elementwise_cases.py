"""Norm and gate: inputs, and their equations in float64, independent of the code's."""

import math

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from gensr_dist.kernels.config import KernelPath
from gensr_dist.kernels.gated_gelu.op import gated_gelu
from gensr_dist.kernels.rms_norm.op import rms_norm
from gensr_dist.kernels.rms_norm.reference import rms_norm_reference
from tests.kernels.tolerance import check_op

EPS = 1e-6


def draw(shape: tuple[int, ...], dtype: torch.dtype, seed: int, device: str, scale: float = 1.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(shape, generator=generator) * scale).to(device, dtype)


def rms_norm_equation(x_BD: Tensor, weight_D: Tensor) -> Tensor:
    rows = [weight_D * row / math.e ** (0.5 * torch.log((row * row).sum() / len(row) + EPS)) for row in _rows(x_BD)]
    return torch.stack(rows).view(x_BD.shape) if rows else x_BD * weight_D


def gated_gelu_equation(gate_BD: Tensor, value_BD: Tensor) -> Tensor:
    inner_BD = (gate_BD + 0.044715 * gate_BD.pow(3)) * math.sqrt(2 / math.pi)
    power_BD = torch.exp(-2 * inner_BD.abs())
    tanh_BD = inner_BD.sign() * (1 - power_BD) / (1 + power_BD)
    return gate_BD / 2 * (1 + tanh_BD) * value_BD


def check_rms_norm(
    shape: tuple[int, ...],
    dtype: torch.dtype,
    device: str = "cpu",
    seed: int = 0,
    scale: float = 1.0,
    path: KernelPath = "auto",
) -> None:
    check_op(
        lambda x, weight: rms_norm(x, weight, EPS, path),
        lambda x, weight: rms_norm_reference(x, weight, EPS),
        rms_norm_equation,
        (draw(shape, dtype, seed, device, scale), draw(shape[-1:], dtype, seed + 1, device)),
    )


def check_gated_gelu(
    shape: tuple[int, ...],
    dtype: torch.dtype,
    device: str = "cpu",
    seed: int = 0,
    scale: float = 1.0,
    path: KernelPath = "auto",
) -> None:
    check_op(
        lambda gate, value: gated_gelu(gate, value, path),
        lambda gate, value: F.gelu(gate, approximate="tanh") * value,
        gated_gelu_equation,
        (draw(shape, dtype, seed, device, scale), draw(shape, dtype, seed + 1, device)),
    )


def _rows(x_BD: Tensor) -> list[Tensor]:
    return list(x_BD.reshape(-1, x_BD.shape[-1]))
