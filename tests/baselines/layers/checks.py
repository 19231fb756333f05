"""What the tests of layers share: weights large enough to matter, inputs, and gradients."""

from typing import TypeVar

import torch
from torch import Tensor, nn

M = TypeVar("M", bound=nn.Module)
FAR = 1e3  # what padding holds when it must not matter


def learnt(module: M, seed: int = 0) -> M:
    """In float64 and evaluation mode, all weights drawn again."""
    generator = torch.Generator().manual_seed(seed)
    module = module.double().eval()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(0.5 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return module


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def masks(seed: int, *shape: int) -> Tensor:
    """Of rows at the end of which padding stands; the first row is empty, the last full."""
    length_X = torch.randint(0, shape[-1] + 1, shape[:-1], generator=torch.Generator().manual_seed(seed))
    length_X[0], length_X[-1] = 0, shape[-1]
    return torch.arange(shape[-1]) < length_X[..., None]


def softmax(logits: list[Tensor]) -> list[Tensor]:
    powers = [(logit - max(logits)).exp() for logit in logits]
    return [power / sum(powers) for power in powers]


def dense(layer: nn.Linear, x: Tensor) -> Tensor:
    out = layer.weight @ x
    return out if layer.bias is None else out + layer.bias


def norm(layer: nn.LayerNorm, x_D: Tensor) -> Tensor:
    centred_D = x_D - x_D.mean()
    return centred_D / (centred_D.square().mean() + layer.eps).sqrt() * layer.weight + layer.bias


def assert_close(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-9)


def assert_trains(module: nn.Module, out: Tensor, *without: str) -> None:
    """A loss over `out` reaches each parameter, but for those whose gradient the equation makes 0, finitely."""
    module.zero_grad()
    (out * normal(99, *out.shape)).sum().backward()
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        largest = parameter.grad.abs().max()
        assert largest < 1e-12 if name.endswith(without) and without else largest > 1e-9, name
