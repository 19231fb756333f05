"""Networks that two tasks share in part: mixtures of experts and the head over them.

Dimensions: X any leading ones, D width, I width of an expert, E experts.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from gensr_dist.baselines.layers.attention import xavier_linear
from gensr_dist.model.dropout import Dropout

TASKS = 2


class _Experts(nn.Module):
    """ReLU(W_e x + b_e) of some experts, all in one product; [X, E, I]."""

    def __init__(self, width: int, inner: int, experts: int) -> None:
        super().__init__()
        self.experts = experts
        self.linear = nn.Linear(width, experts * inner)
        nn.init.normal_(self.linear.weight, std=(2 / (width + inner)) ** 0.5)  # Xavier's rule for each of them
        nn.init.zeros_(self.linear.bias)

    def forward(self, x_XD: Tensor) -> Tensor:
        expert_XEI: Tensor = self.linear(x_XD).relu().unflatten(-1, (self.experts, -1))
        return expert_XEI


def _mix(gate_XE: Tensor, expert_XEI: Tensor) -> Tensor:
    return (gate_XE.softmax(-1)[..., None, :] @ expert_XEI).squeeze(-2)


class ProgressiveExperts(nn.Module):
    """PLE of one layer: a task's gate is over its own experts and the shared ones.

    Args:
        width: D.
        inner: I.
        shared: experts of both tasks.
        own: experts of each task alone.
    """

    def __init__(self, width: int, inner: int, shared: int, own: int) -> None:
        super().__init__()
        self.shared = _Experts(width, inner, shared)
        self.own = nn.ModuleList(_Experts(width, inner, own) for _ in range(TASKS))
        self.gates = nn.ModuleList(nn.Linear(width, own + shared, bias=False) for _ in range(TASKS))

    def forward(self, x_XD: Tensor) -> tuple[Tensor, Tensor]:
        """What each task gets [X, I]; a gate's first weights are for the task's own experts."""
        shared_XEI = self.shared(x_XD)
        first, second = (
            _mix(gate(x_XD), torch.cat([own(x_XD), shared_XEI], dim=-2))
            for gate, own in zip(self.gates, self.own, strict=True)
        )
        return first, second


class LogitHead(nn.Module):
    """An MLP (ReLU) to one logit.

    Args:
        width: D.
        hidden: widths of the layers between.
        dropout: behind each of them.
    """

    def __init__(self, width: int, hidden: Sequence[int] = (200, 80), dropout: float = 0.0) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inner in hidden:
            layers += [nn.Linear(width, inner), nn.ReLU(), Dropout(dropout)]
            width = inner
        self.layers = nn.Sequential(*layers, nn.Linear(width, 1))

    def forward(self, x_XD: Tensor) -> Tensor:
        """Logits [X]."""
        logit_X1: Tensor = self.layers(x_XD)
        return logit_X1.squeeze(-1)


class TaskNetworks(nn.Module):
    """`ProgressiveExperts`, then for each task a tower of two layers (ReLU) and a `LogitHead`.

    Args:
        width: D.
        inner: I, of the experts and of the towers' ends.
        experts: shared ones, and as many of each task.
        tower: width within the towers.
        dropout: in towers and heads.
    """

    def __init__(self, width: int, inner: int, experts: int, tower: int, dropout: float) -> None:
        super().__init__()
        self.experts = ProgressiveExperts(width, inner, experts, experts)
        self.towers = nn.ModuleList(
            nn.Sequential(
                *(nn.Linear(inner, tower), nn.ReLU(), Dropout(dropout)),
                *(nn.Linear(tower, inner), nn.ReLU(), Dropout(dropout)),
                LogitHead(inner, dropout=dropout),
            )
            for _ in range(TASKS)
        )
        xavier_linear(self.towers)

    def forward(self, x_XD: Tensor, is_second_X: Tensor) -> Tensor:
        """Logits [X] of the first task, or of the second where `is_second_X`, of a shape that expands to it."""
        first_XI, second_XI = self.experts(x_XD)
        first, second = self.towers
        return torch.where(is_second_X, second(second_XI), first(first_XI))
