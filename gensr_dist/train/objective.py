"""The loss of a step (eq. 8) and what is reported of it."""

from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor
from typing_extensions import Self

from gensr_dist.config import Config
from gensr_dist.data.batch import Batch
from gensr_dist.model.gensr import GenSROutput
from gensr_dist.model.losses import contrastive_loss, task_loss

_NEVER = torch.iinfo(torch.int64).max


@dataclass(frozen=True)
class StepLosses:
    """This rank's share of both losses, as model/losses.py scales them."""

    task: Tensor
    contrastive: Tensor

    @classmethod
    def zero(cls, device: torch.device) -> Self:
        """Nothing yet."""
        return cls(torch.zeros((), device=device), torch.zeros((), device=device))

    def __add__(self, other: Self) -> "StepLosses":
        return StepLosses(self.task + other.task.detach(), self.contrastive + other.contrastive.detach())

    def to_minimise(self, contrastive_weight: float) -> Tensor:
        """L = L_task + lambda L_cl (eq. 8)."""
        return self.task + contrastive_weight * self.contrastive

    def of_all_ranks(self, world: int, accumulation: int) -> tuple[float, float]:
        """Task and contrastive loss of the whole step. Every rank must call it, on the sum of its micro-batches.

        A rank's task loss is that of its own rows times the ranks, its contrastive loss already that of all rows.
        """
        both = torch.stack([self.task, self.contrastive]).double()
        dist.all_reduce(both)
        task, contrastive = (both / (world * accumulation)).tolist()
        return task, contrastive


class FiniteWatch:
    """Remembers on the device the first step whose loss was not finite, so that steps need not wait to look."""

    def __init__(self, device: torch.device) -> None:
        self._first_bad = torch.tensor(_NEVER, device=device)

    def see(self, losses: StepLosses, step: int) -> None:
        """Look at the losses of a step."""
        bad = torch.where((losses.task + losses.contrastive).isfinite(), _NEVER, step)
        self._first_bad = torch.minimum(self._first_bad, bad)

    def first_bad_step(self) -> int | None:
        """The first such step on any rank. Every rank must call it; it waits for the device."""
        first = self._first_bad.clone()
        dist.all_reduce(first, op=dist.ReduceOp.MIN)
        return None if first.item() == _NEVER else int(first.item())


def step_losses(output: GenSROutput, batch: Batch, config: Config, world: int) -> StepLosses:
    """Both losses of one micro-batch (eq. 9, 10). Without weight or without one of its views, the second is 0."""
    assert output.nll_GC is not None
    shared = {"step_groups": batch.step_groups, "world": world, "accumulation": config.train.accumulation}
    task = task_loss(output.nll_GC, candidates=batch.candidate_GC.shape[1], **shared)
    if not (config.train.contrastive_weight and config.model.cf_view and config.model.semantic_view):
        return StepLosses(task, torch.zeros_like(task))
    contrastive = contrastive_loss(
        output.user_cf_GD,
        output.user_semantic_GD,
        batch.user_G,
        output.has_history_G,
        temperature=config.train.temperature,
        **shared,
    )
    return StepLosses(task, contrastive)
