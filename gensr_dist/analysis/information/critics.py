"""Critics T(x, y) = g(x) . h(y) + a(x) + b(y): g and h are linear plus a small MLP.

a and b are so too, plus weights times the squares of g or h: what normalises e^(g . h) grows as those do.

Many critics are trained at once as one stack of weights that never meet.

Dimensions: M critics, B and P examples, D width of x, O width of y, K width of g and h, H hidden width, I and J inputs
and outputs of a layer.
"""

import copy
import math

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

_HIDDEN, _INNER = 64, 32
_CURVED, _ALONE = 0.3, 1.0  # scale of the MLPs in g and h, where what is simple is learnt first, and in a and b


class _Layer(nn.Module):
    """A linear layer of each critic; [M, B, I] to [M, B, J]."""

    def __init__(self, critics: int, inputs: int, outputs: int, generator: torch.Generator, scale: float = 1.0) -> None:
        super().__init__()
        weight_MIJ = torch.randn(critics, inputs, outputs, generator=generator)
        self.weight_MIJ = nn.Parameter(weight_MIJ * (scale / math.sqrt(inputs)))
        self.bias_M1J = nn.Parameter(torch.zeros(critics, 1, outputs))

    def forward(self, x_MBI: Tensor) -> Tensor:
        return torch.baddbmm(self.bias_M1J, x_MBI, self.weight_MIJ)


class _Tower(nn.Module):
    """g and a of x, or h and b of y; [M, B, I] to [M, B, K + 1]."""

    scale_K: Tensor

    def __init__(self, critics: int, inputs: int, generator: torch.Generator, *, zero: bool) -> None:
        super().__init__()
        scale = 0.0 if zero else 1.0
        self.linear = _Layer(critics, inputs, _INNER + 1, generator, scale)
        self.first = _Layer(critics, inputs, _HIDDEN, generator)
        self.second = _Layer(critics, _HIDDEN, _HIDDEN, generator)
        self.third = _Layer(critics, _HIDDEN, _INNER + 1, generator, scale)
        with torch.no_grad():
            for last in (self.linear, self.third):
                last.weight_MIJ[..., -1] = 0  # a or b
        self.squares = _Layer(critics, _INNER, 1, generator, 0.0)
        self.register_buffer("scale_K", torch.tensor([_CURVED] * _INNER + [_ALONE]), persistent=False)

    def forward(self, x_MBI: Tensor) -> Tensor:
        curved_MBK: Tensor = self.third(silu(self.second(silu(self.first(x_MBI)))))
        both_MBK = self.linear(x_MBI) + self.scale_K * curved_MBK
        alone_MB1 = both_MBK[..., -1:] + self.squares(both_MBK[..., :-1].square())
        return torch.cat([both_MBK[..., :-1], alone_MB1], -1)


class Critics(nn.Module):
    """A stack of critics; all give 0 at first, which says that x and y are independent.

    Args:
        critics: M.
        width_x: D.
        width_y: O.
        generator: of the first weights, on the CPU.
    """

    def __init__(self, critics: int, width_x: int, width_y: int, generator: torch.Generator) -> None:
        super().__init__()
        self.x = _Tower(critics, width_x, generator, zero=False)
        self.y = _Tower(critics, width_y, generator, zero=True)

    def forward(self, x_MBD: Tensor, y_MPO: Tensor) -> Tensor:
        """T of each x with each y, [M, B, P]."""
        x_MBK, y_MPK = self.x(x_MBD), self.y(y_MPO)
        product_MBP = x_MBK[..., :-1] @ y_MPK[..., :-1].mT / math.sqrt(_INNER)
        score_MBP: Tensor = product_MBP + x_MBK[..., -1:] + y_MPK[..., -1:].mT
        return score_MBP

    def only(self, chosen: list[int]) -> "Critics":
        """A copy of some of them."""
        few = copy.deepcopy(self)
        for parameter in few.parameters():
            parameter.data = parameter.data[chosen]
        return few
