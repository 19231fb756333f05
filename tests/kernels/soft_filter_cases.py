"""Inputs of the soft filter, and its equation in float64, group by group and row by row."""

from dataclasses import dataclass

import torch
from torch import Tensor

from gensr_dist.kernels.config import KernelPath
from gensr_dist.kernels.soft_filter.op import soft_filter
from gensr_dist.kernels.soft_filter.reference import soft_filter_reference
from tests.kernels.tolerance import check_op


@dataclass(frozen=True)
class Shape:
    G: int
    M: int
    N: int
    D: int
    dtype: torch.dtype = torch.float32
    seed: int = 0
    visible: float = 0.6  # share of unmasked positions
    scale: float = 1.0  # of the queries; large ones make the softmax sharp


def draw(shape: Shape, device: str = "cpu") -> tuple[Tensor, Tensor, Tensor]:
    """Queries, history and mask; of several groups the second is empty, and masked rows hold large numbers."""
    generator = torch.Generator().manual_seed(shape.seed)
    query_GMD = torch.randn(shape.G, shape.M, shape.D, generator=generator) * shape.scale * shape.D**-0.5
    history_GND = torch.randn(shape.G, shape.N, shape.D, generator=generator)
    mask_GN = torch.rand(shape.G, shape.N, generator=generator) < shape.visible
    if shape.G > 1:
        mask_GN[1] = False
    history_GND = history_GND.masked_fill(~mask_GN[..., None], 1e4)
    return query_GMD.to(device, shape.dtype), history_GND.to(device, shape.dtype), mask_GN.to(device)


def equation(query_GMD: Tensor, history_GND: Tensor, mask_GN: Tensor) -> Tensor:
    pooled = []
    for query_MD, history_ND, mask_N in zip(query_GMD, history_GND, mask_GN, strict=True):
        kept_ND = history_ND[mask_N]
        for query_D in query_MD:
            score_N = kept_ND @ query_D
            weight_N = torch.exp(score_N - score_N.max()) if len(kept_ND) else score_N
            pooled.append((weight_N / weight_N.sum()) @ kept_ND if len(kept_ND) else query_D * 0)
    return torch.stack(pooled).view_as(query_GMD)


def check_soft_filter(shape: Shape, device: str = "cpu", path: KernelPath = "auto") -> None:
    query_GMD, history_GND, mask_GN = draw(shape, device)
    check_op(
        lambda query, history: soft_filter(query, history, mask_GN, path),
        lambda query, history: soft_filter_reference(query, history, mask_GN),
        lambda query, history: equation(query, history, mask_GN),
        (query_GMD, history_GND),
    )


def check_empty_and_masked(shape: Shape, device: str = "cpu", path: KernelPath = "auto") -> None:
    """Nothing comes out of empty groups, and nothing flows to masked rows or depends on them."""
    query_GMD, history_GND, mask_GN = draw(shape, device)
    empty_G = ~mask_GN.any(1)
    assert empty_G.any()
    results = []
    for filler in (1e4, -3.0):
        query = query_GMD.detach().requires_grad_()
        history = history_GND.detach().masked_fill(~mask_GN[..., None], filler).requires_grad_()
        pooled = soft_filter(query, history, mask_GN, path)
        assert (pooled[empty_G] == 0).all()
        pooled.sin().sum().backward()
        assert query.grad is not None
        assert history.grad is not None
        assert (query.grad[empty_G] == 0).all()
        assert (history.grad[~mask_GN] == 0).all()
        results.append((pooled.detach(), query.grad, history.grad))
    for one, other in zip(*results, strict=True):
        assert torch.equal(one, other)
