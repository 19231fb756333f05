"""The loss of a step (eq. 8) and what is reported of it.

Dimensions as in `data/batches/batch.py`; D width of the backbone, H of the match towers.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Generic, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor
from typing_extensions import Self

from gensr_dist.config.root import Config
from gensr_dist.data.batches.batch import Batch
from gensr_dist.distributed.signals import Stop
from gensr_dist.model.gensr import GenSROutput
from gensr_dist.model.losses import contrastive_loss, match_loss, of_own_rows, task_loss
from gensr_dist.train.config import TrainConfig

_Value = TypeVar("_Value", float, Tensor)


@dataclass(frozen=True)
class _Losses(Generic[_Value]):
    task: _Value  # eq. 9
    contrastive: _Value  # eq. 10
    match: _Value  # of the match towers

    def to_minimise(self, settings: TrainConfig) -> _Value:
        """L = L_task + lambda L_cl (eq. 8), and the towers' loss."""
        return self.task + settings.contrastive_weight * self.contrastive + settings.match_weight * self.match


@dataclass(frozen=True)
class LossValues(_Losses[float]):
    """Losses of a step or a micro-batch as numbers."""


@dataclass(frozen=True)
class StepLosses(_Losses[Tensor]):
    """This rank's share of the losses, as model/losses.py scales them."""

    @classmethod
    def zero(cls, device: torch.device) -> Self:
        """Nothing yet."""
        return cls(*(torch.zeros((), device=device) for _ in fields(cls)))

    def __add__(self, other: Self) -> "StepLosses":
        return StepLosses(*(own + more.detach() for own, more in zip(self.each(), other.each(), strict=True)))

    def each(self) -> tuple[Tensor, Tensor, Tensor]:
        """Task, contrastive and match loss."""
        return self.task, self.contrastive, self.match

    def detached(self) -> "StepLosses":
        """Without what a backward pass would need."""
        return StepLosses(*(loss.detach() for loss in self.each()))

    def values(self) -> LossValues:
        """As numbers; waits for the device."""
        return LossValues(*(float(loss) for loss in self.each()))

    def of_all_ranks(self, world: int) -> LossValues:
        """Losses of the whole step. Every rank must call it, on the sum of its micro-batches.

        A rank's task loss is that of its own rows times the ranks, its other losses already those of all rows.
        """
        shares = torch.stack(self.each()).double()
        dist.all_reduce(shares)
        return LossValues(*(shares / world).tolist())

    @property
    def finite(self) -> Tensor:
        """Whether all of them are, a bool tensor."""
        return torch.stack(self.each()).isfinite().all()


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
        kept = losses.detached()
        self._losses.append(kept)
        self._bad = self._bad + (~kept.finite).float()

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
            if not bool(losses.finite):
                return number
        return None

    def losses_of(self, micro_batch: int) -> LossValues:
        """Losses of a micro-batch of this rank."""
        return self._losses[micro_batch].values()


def seed_dropout(seed: int, step: int, rank: int) -> None:
    """Make dropout a function of (seed, step, rank): a resumed run draws what an uninterrupted one would have."""
    key = np.random.SeedSequence([seed, step, rank])
    torch.manual_seed(int(key.generate_state(1, np.uint64)[0]))


def step_losses(output: GenSROutput, batch: Batch, config: Config, world: int) -> StepLosses:
    """Losses of one micro-batch (eq. 9, 10, and of the towers); one without weight or without its views is 0."""
    return StepLosses(_task(output, batch, config, world), *_across_rows([(batch, output)], config, world))


def joint_losses(seen: Sequence[tuple[Batch, GenSROutput]], own: int, config: Config, world: int) -> StepLosses:
    """What `step_losses` gives on one of several ranks, from the micro-batches of all of them and without the others.

    Args:
        seen: of every rank in order, or of one alone where no loss compares rows.
        own: place of the rank among them; the gradient goes to its rows, if the others were computed without.
        config: of the run.
        world: ranks.
    """
    batch, output = seen[own]
    whole = _across_rows(seen, config, 1)
    return StepLosses(_task(output, batch, config, world), *(of_own_rows(loss, world) for loss in whole))


def compares_rows(config: Config) -> bool:
    """Whether a rank's losses depend on the rows of other ranks."""
    return _contrasts(config) or _matches(config)


def _contrasts(config: Config) -> bool:
    return bool(config.train.contrastive_weight and config.model.cf_view and config.model.semantic_view)


def _matches(config: Config) -> bool:
    return bool(config.train.match_weight and config.model.match)


def _task(output: GenSROutput, batch: Batch, config: Config, world: int) -> Tensor:
    return task_loss(
        output.nll_GC,
        candidates=batch.candidate_GC.shape[1],
        step_groups=batch.step_groups,
        world=world,
    )


def _across_rows(seen: Sequence[tuple[Batch, GenSROutput]], config: Config, world: int) -> tuple[Tensor, Tensor]:
    """Contrastive and match loss of the rows of all that was seen; `world` ranks add theirs."""
    nothing = seen[0][1].nll_GC.new_zeros((), dtype=torch.float32)
    contrastive = match = nothing
    step_groups = seen[0][0].step_groups
    if _contrasts(config):
        contrastive = contrastive_loss(
            torch.cat([output.user_cf_GD for _, output in seen]),
            torch.cat([output.user_semantic_GD for _, output in seen]),
            torch.cat([batch.user_G for batch, _ in seen]),
            torch.cat([output.has_history_G for _, output in seen]),
            temperature=config.train.temperature,
            step_groups=step_groups,
            world=world,
        )
    if _matches(config) and (matches := [output.match for _, output in seen if output.match is not None]):
        match = match_loss(
            torch.cat([towers.user_GH for towers in matches]),
            torch.cat([towers.item_GCH for towers in matches]),
            torch.cat([batch.item_U[batch.candidate_GC] for batch, _ in seen]),
            torch.cat([batch.log_chance_GC for batch, _ in seen]),
            step_groups=step_groups,
            world=world,
        )
    return contrastive, match
