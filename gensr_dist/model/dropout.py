"""Dropout that costs a CPU little.

torch's own draws a number in single precision for every element, one after the other on one core, and keeps a mask of
the elements' type. Here an element takes 16 random bits, which are kept: four times as fast forward, less than half as
fast backward, together about three times (`kernels/benchmarks.csv`). On GPUs and for torch.compile, torch's is fused,
and is taken.
"""

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

_CHANCES = 1 << 16  # values of 16 random bits
_WORDS = 4  # of 16 bits in a 64-bit draw, the largest of torch's generator
_PART = 1 << 18  # elements at a time, which caches hold


def dropout(x: Tensor, rate: float) -> Tensor:
    """`x` with each element 0 by chance, the others larger so that the mean stays. Differentiable once.

    An element that is not finite may fall, too: torch's own would make it NaN.

    Args:
        x: any shape and floating dtype.
        rate: chance of a 0, in [0, 1); on CPUs rounded to 1 / 65,536.
    """
    if rate == 0:
        return x
    if x.is_cuda or torch.compiler.is_compiling():
        return F.dropout(x, rate)
    return _Dropout.apply(x, rate)


class Dropout(nn.Module):
    """`dropout` in training.

    Args:
        rate: see `dropout`.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """Of any shape."""
        return dropout(x, self.rate) if self.training else x


class _Dropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, rate: float) -> Tensor:
        draws = torch.empty(-(-x.numel() // _WORDS), dtype=torch.int64).random_(-(1 << 63), None)
        words = draws.view(torch.int16)[: x.numel()]
        ctx.dropped = min(round(rate * _CHANCES), _CHANCES - 1)
        ctx.save_for_backward(words)
        return _kept(x, words, ctx.dropped)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_out: Tensor) -> tuple[Tensor, None]:
        (words,) = ctx.saved_tensors
        return _kept(d_out, words, ctx.dropped), None


def _kept(x: Tensor, words: Tensor, dropped: int) -> Tensor:
    """`x`, scaled, where a word is not among the `dropped` lowest of its values; else 0."""
    wide = x.to(torch.promote_types(x.dtype, torch.float32)).contiguous()
    out = torch.empty_like(wide)
    highest, scale = dropped - _CHANCES // 2 - 1, _CHANCES / (_CHANCES - dropped)
    # Where a word is above `highest`: with torch's comparisons this takes two to five times as long.
    keep = torch.ops.aten.threshold_backward.grad_input
    parts = (each.view(-1).split(_PART) for each in (wide, words, out))
    for wide_part, words_part, out_part in zip(*parts, strict=True):
        keep(wide_part, words_part.to(wide.dtype), highest, grad_input=out_part).mul_(scale)
    return out.to(x.dtype)
