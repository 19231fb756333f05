"""Estimates of mutual information: critics are trained, stopped early, and read on three sets of examples.

Dimensions: N examples, D width of x, O width of y, S splits, Q bounds, M = Q x S critics, B batch, P some examples.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gensr_dist.analysis.information.bounds import BOUNDS, Bound, log_mean_exp, mine_objective, moving_average, parts
from gensr_dist.analysis.information.critics import Critics

BATCH, _SMALL, _BATCHES = 256, 64, 24  # of few examples a batch is a 24th, and 64 at least
STEPS = 1_000  # at most
_BLOCK = 512  # examples whose pairs are read together in the estimate; InfoNCE's limit is its logarithm
_RATE, _WARMUP = 2e-3, 50
_AVERAGE = 0.01  # share of a new batch in the moving average of e^T
_FIRST_CHECK, _PATIENCE = 10, 5  # steps between checks are a tenth of the steps so far, and this at least
_CONSTANT = 1e-3  # a column that varies less than this share of the widest is noise of rounding

Positions: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Samples:
    """Draws of (x, y)."""

    x_ND: NDArray[np.float32]
    y_NO: NDArray[np.float32]
    group_N: NDArray[np.int64]  # examples of one group depend on each other: no pair of them stands for the marginals


@dataclass(frozen=True, kw_only=True)
class UserSplit:
    """Examples that train a critic, that stop its training, and that give the estimate; in random order."""

    train_P: Positions
    stop_P: Positions
    estimate_P: Positions


@dataclass(frozen=True, kw_only=True)
class BoundEstimate:
    """What a critic finds on the last part of its split."""

    part_P: NDArray[np.float64]  # nats of each example, in the order of `UserSplit.estimate_P`; their mean is the bound

    @property
    def nats(self) -> float:
        """The bound."""
        return float(self.part_P.mean())


@dataclass(frozen=True, kw_only=True)
class BrokenEstimate:
    """A critic gave something that is not a number."""

    problem: str


Estimates: TypeAlias = Mapping[Bound, tuple[BoundEstimate | BrokenEstimate, ...]]


def estimates(samples: Samples, splits: Sequence[UserSplit], seed: int) -> Estimates:
    """Bounds of I(X; Y) by split, each by a critic of its own; x is standardised by what trains the critic.

    Args:
        samples: all examples.
        splits: one an estimate.
        seed: of first weights and of the order of training.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    data = _Data.of(samples, splits, device)
    generator = torch.Generator().manual_seed(seed)
    critics = Critics(len(BOUNDS) * len(splits), data.x_ND.shape[1], data.y_NO.shape[1], generator).to(device)
    sound_QS = _train(critics, data, splits, generator)
    return {
        bound: tuple(
            _estimate(critics, data, split, (place, number), len(splits))
            if sound_QS[place, number]
            else BrokenEstimate(problem=f"{bound} of seed {number} became something that is not a number in training")
            for number, split in enumerate(splits)
        )
        for place, bound in enumerate(BOUNDS)
    }


@dataclass(frozen=True, kw_only=True)
class _Data:
    """The examples on the device, and how each split scales them."""

    x_ND: Tensor
    y_NO: Tensor
    group_N: Tensor
    mean_S1D: Tensor
    scale_S1D: Tensor

    @classmethod
    def of(cls, samples: Samples, splits: Sequence[UserSplit], device: torch.device) -> "_Data":
        x_ND = torch.from_numpy(samples.x_ND)
        spread_S1D = torch.stack([x_ND[split.train_P].std(0) for split in splits])[:, None]
        varies_S1D = spread_S1D > _CONSTANT * spread_S1D.amax(2, keepdim=True)
        return cls(
            x_ND=x_ND.to(device),
            y_NO=torch.from_numpy(samples.y_NO).to(device),
            group_N=torch.from_numpy(samples.group_N).to(device),
            mean_S1D=torch.stack([x_ND[split.train_P].mean(0) for split in splits])[:, None].to(device),
            scale_S1D=torch.where(varies_S1D | spread_S1D.isnan(), 1 / spread_S1D, 0).to(device),
        )

    def scores(self, critics: Critics, example_SP: Tensor, splits: slice = slice(None)) -> tuple[Tensor, Tensor]:
        """T of all pairs [M, P, P], and which of them are apart [S, P, P]."""
        x_SPD = (self.x_ND[example_SP] - self.mean_S1D[splits]) * self.scale_S1D[splits]
        group_SP, y_SPO = self.group_N[example_SP], self.y_NO[example_SP]
        repeats = critics.x.linear.bias_M1J.shape[0] // len(x_SPD)
        score_MPP = critics(x_SPD.repeat(repeats, 1, 1), y_SPO.repeat(repeats, 1, 1))
        return score_MPP, group_SP[:, :, None] != group_SP[:, None]


def _train(critics: Critics, data: _Data, splits: Sequence[UserSplit], generator: torch.Generator) -> NDArray[np.bool_]:
    """Leave the averaged weights that were best on `stop_P` in the critics; whether each stayed finite [Q, S]."""
    weights = list(critics.parameters())
    averaged, best = ([weight.detach().clone() for weight in weights] for _ in range(2))
    optimizer = torch.optim.Adam(weights, lr=_RATE)
    batches = _Batches([split.train_P for split in splits], generator, data.x_ND.device)
    best_QS = torch.full((len(BOUNDS), len(splits)), -math.inf, device=data.x_ND.device)
    idle_QS = torch.zeros_like(best_QS)
    sound_QS = torch.ones_like(best_QS, dtype=torch.bool)
    log_average_S: Tensor | None = None
    due = _FIRST_CHECK
    for step in range(1, STEPS + 1):
        score_QSBB, apart_SBB = _by_bound(*data.scores(critics, batches.next()))
        log_mean_S = log_mean_exp(score_QSBB[0], apart_SBB).detach()
        log_average_S = moving_average(log_average_S, log_mean_S, _AVERAGE)
        gain = mine_objective(score_QSBB[0], apart_SBB, log_average_S).sum()
        gain = gain + sum(parts(bound, score_QSBB[place], apart_SBB).mean(1).sum() for place, bound in _OTHERS)
        optimizer.zero_grad()
        (-gain).backward()
        optimizer.param_groups[0]["lr"] = _RATE * min(1.0, step / _WARMUP)
        optimizer.step()
        now = [weight.detach() for weight in weights]
        torch._foreach_lerp_(averaged, now, 10 / (step + 10))  # over about the last tenth of the steps
        if step < due and step < STEPS:
            continue
        due = step + max(_FIRST_CHECK, step // 10)
        value_QS = _stopping_values(critics, averaged, data, splits)
        sound_QS &= value_QS.isfinite()
        better_QS = value_QS > best_QS
        best_QS = torch.where(better_QS, value_QS, best_QS)
        idle_QS = torch.where(better_QS, 0, idle_QS + 1)
        for kept, weight in zip(best, averaged, strict=True):
            kept.copy_(torch.where(better_QS.flatten()[:, None, None], weight, kept))
        if bool((idle_QS >= _PATIENCE).all()):
            break
    _put(critics, best)
    found: NDArray[np.bool_] = sound_QS.cpu().numpy()
    return found


_OTHERS: tuple[tuple[int, Bound], ...] = tuple((place, bound) for place, bound in enumerate(BOUNDS) if bound != "MINE")


class _Batches:
    """Batches of as many examples of each split, each example once before any comes again."""

    def __init__(self, train: Sequence[Positions], generator: torch.Generator, device: torch.device) -> None:
        self.pools = [torch.from_numpy(train_P) for train_P in train]
        self.generator, self.device = generator, device
        self.rounds = min(map(len, train))
        self.size = min(BATCH, max(_SMALL, self.rounds // _BATCHES), self.rounds)
        self.at = self.rounds

    def next(self) -> Tensor:
        """Positions [S, B]."""
        if self.at + self.size > self.rounds:
            shuffled = [pool[torch.randperm(len(pool), generator=self.generator)][: self.rounds] for pool in self.pools]
            self.order_SN, self.at = torch.stack(shuffled).to(self.device), 0
        self.at += self.size
        return self.order_SN[:, self.at - self.size : self.at]


def _by_bound(score_MPP: Tensor, apart_SPP: Tensor) -> tuple[Tensor, Tensor]:
    return score_MPP.unflatten(0, (-1, len(apart_SPP))), apart_SPP


@torch.no_grad()
def _stopping_values(critics: Critics, weights: Sequence[Tensor], data: _Data, splits: Sequence[UserSplit]) -> Tensor:
    """Each bound on `stop_P` with other weights [Q, S], of blocks like a batch."""
    live = [weight.detach().clone() for weight in critics.parameters()]
    _put(critics, weights)
    shared = min(len(split.stop_P) for split in splits)
    stop_SP = torch.from_numpy(np.stack([split.stop_P[:shared] for split in splits])).to(data.x_ND.device)
    block = min(BATCH, shared)
    values = []
    for start in range(0, shared - block + 1, block):
        score_QSBB, apart_SBB = _by_bound(*data.scores(critics, stop_SP[:, start : start + block]))
        found = [parts(bound, score_QSBB[place], apart_SBB).mean(1) for place, bound in enumerate(BOUNDS)]
        values.append(torch.stack(found))
    _put(critics, live)
    return torch.stack(values).mean(0)


@torch.no_grad()
def _estimate(
    critics: Critics, data: _Data, split: UserSplit, member: tuple[int, int], splits: int
) -> BoundEstimate | BrokenEstimate:
    """One critic (bound, split) on its last part, in blocks of equal size."""
    place, number = member
    critic = critics.only([place * splits + number])
    found = []
    for block_P in np.array_split(split.estimate_P, math.ceil(len(split.estimate_P) / _BLOCK)):
        block_1P = torch.from_numpy(block_P)[None].to(data.x_ND.device)
        score_1PP, apart_1PP = data.scores(critic, block_1P, slice(number, number + 1))
        found.append(parts(BOUNDS[place], score_1PP, apart_1PP)[0].double().cpu().numpy())
    part_P = np.concatenate(found)
    if not np.isfinite(part_P).all():
        return BrokenEstimate(problem=f"{BOUNDS[place]} of seed {number} is not a number on held-out examples")
    return BoundEstimate(part_P=part_P)


@torch.no_grad()
def _put(critics: Critics, values: Sequence[Tensor]) -> None:
    for weight, value in zip(critics.parameters(), values, strict=True):
        weight.copy_(value)
