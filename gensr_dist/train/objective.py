"""The loss of a step (eq. 8) and what is reported of it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor
from typing_extensions import Self

from gensr_dist.config import Config
from gensr_dist.data.batches.batch import Batch
from gensr_dist.model.gensr import GenSROutput
from gensr_dist.model.losses import contrastive_loss, task_loss
from gensr_dist.train.signals import Stop


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

    def of_all_ranks(self, world: int) -> tuple[float, float]:
        """Task and contrastive loss of the whole step. Every rank must call it, on the sum of its micro-batches.

        A rank's task loss is that of its own rows times the ranks, its contrastive loss already that of all rows.
        """
        both = torch.stack([self.task, self.contrastive]).double()
        dist.all_reduce(both)
        task, contrastive = (both / world).tolist()
        return task, contrastive


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """What all ranks know alike before an update."""

    losses_finite: bool
    gradient_finite: bool  # True where only the optimizer finds out
    stop: Stop

    @property
    def finite(self) -> bool:
        """Whether the update may be applied."""
        return self.losses_finite and self.gradient_finite


class StepCheck:
    """Looks at the losses of a step and agrees with the other ranks before the update: one small reduction a step.

    Reading its result makes the host wait for the backward pass, once a step. DeepSpeed's ZeRO optimizers wait at the
    same place to look at the gradient norm, and on CPUs there is nothing to wait for.

    Args:
        device: of this rank.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.begin()

    def begin(self) -> None:
        """Begin a step."""
        self._bad = torch.zeros((), device=self.device)
        self._losses: list[StepLosses] = []

    def see(self, losses: StepLosses) -> None:
        """Look at the losses of the next micro-batch."""
        kept = StepLosses(losses.task.detach(), losses.contrastive.detach())
        self._losses.append(kept)
        self._bad = self._bad + (~(kept.task + kept.contrastive).isfinite()).float()

    def agree(self, gradient_norm: Tensor | None, stop: Stop) -> Agreement:
        """What all ranks found. Every rank must call it.

        Args:
            gradient_norm: of the whole gradient, where it is known before the update.
            stop: what this rank knows of requests to end.
        """
        norm_bad = torch.zeros_like(self._bad) if gradient_norm is None else (~gradient_norm.isfinite()).float()
        flags = torch.stack([self._bad, norm_bad, torch.full_like(self._bad, float(stop))])
        dist.all_reduce(flags, op=dist.ReduceOp.MAX)
        bad, norm, code = flags.tolist()
        return Agreement(losses_finite=not bad, gradient_finite=not norm, stop=Stop(int(code)))

    def first_bad(self) -> int | None:
        """This rank's first micro-batch of the step whose loss is not finite."""
        for number, losses in enumerate(self._losses):
            if not bool((losses.task + losses.contrastive).isfinite()):
                return number
        return None

    def losses_of(self, micro_batch: int) -> tuple[float, float]:
        """Task and contrastive loss of a micro-batch of this rank."""
        losses = self._losses[micro_batch]
        return float(losses.task), float(losses.contrastive)


def seed_dropout(seed: int, step: int, rank: int) -> None:
    """Make dropout a function of (seed, step, rank): a resumed run draws what an uninterrupted one would have."""
    key = np.random.SeedSequence([seed, step, rank])
    torch.manual_seed(int(key.generate_state(1, np.uint64)[0]))


def step_losses(output: GenSROutput, batch: Batch, config: Config, world: int) -> StepLosses:
    """Both losses of one micro-batch (eq. 9, 10). Without weight or without one of its views, the second is 0."""
    task = _task(output, batch, config, world)
    if not _contrasts(config):
        return StepLosses(task, torch.zeros_like(task))
    return StepLosses(task, _contrastive([(batch, output)], config, world))


def joint_losses(seen: Sequence[tuple[Batch, GenSROutput]], own: int, config: Config, world: int) -> StepLosses:
    """What `step_losses` gives on one of several ranks, from the micro-batches of all of them and without the others.

    Args:
        seen: of every rank in order, or of one alone where there is no contrastive loss.
        own: place of the rank among them; the gradient goes to its rows, if the others were computed without.
        config: of the run.
        world: ranks.
    """
    batch, output = seen[own]
    task = _task(output, batch, config, world)
    if not _contrasts(config):
        return StepLosses(task, torch.zeros_like(task))
    whole = _contrastive(seen, config, 1)
    return StepLosses(task, whole * world - whole.detach() * (world - 1))


def _contrasts(config: Config) -> bool:
    return bool(config.train.contrastive_weight and config.model.cf_view and config.model.semantic_view)


def _task(output: GenSROutput, batch: Batch, config: Config, world: int) -> Tensor:
    return task_loss(
        output.nll_GC,
        candidates=batch.candidate_GC.shape[1],
        step_groups=batch.step_groups,
        world=world,
    )


def _contrastive(seen: Sequence[tuple[Batch, GenSROutput]], config: Config, world: int) -> Tensor:
    return contrastive_loss(
        torch.cat([output.user_cf_GD for _, output in seen]),
        torch.cat([output.user_semantic_GD for _, output in seen]),
        torch.cat([batch.user_G for batch, _ in seen]),
        torch.cat([output.has_history_G for _, output in seen]),
        temperature=config.train.temperature,
        step_groups=seen[0][0].step_groups,
        world=world,
    )
