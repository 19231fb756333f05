"""`gensr bench step`: optimizer steps a second of ours and of the plain way.

A step is the forward pass with dropout, the loss of eq. 8 and that of the towers, gradients of all parameters, clipping
and AdamW.
"""

from pathlib import Path
from typing import Any

import torch

from gensr_dist.bench.parts import PartTimes
from gensr_dist.bench.speed import SpeedBench, compare
from gensr_dist.bench.turns import Rank, Way
from gensr_dist.bench.ways import BatchGroups, Model, Ours, Plain, Setting, Work

CANDIDATES = 5  # a positive and its negatives
GROUPS = BatchGroups(cpu=12, gpu_plain=128, gpu_ours=1_024)  # 12: half a minute of the plain way, with `small`
_LEARNING_RATE = 1e-4
_CLIP = 1.0


def bench_step(setting: Setting, *, rounds: int, profile: Path | None) -> SpeedBench:
    """Train both ways on random batches.

    Args:
        setting: what a step computes.
        rounds: of each way, alternated.
        profile: folder for a trace of a step of ours.

    Raises:
        InputError: see `check_setting`.
    """
    return compare(Way(train_ours), Way(train_plain), setting, rounds=rounds, training=True, profile=profile)


def train_ours(setting: Setting, rank: Rank) -> Work:
    """Training steps of ours."""
    model = Ours(setting, rank.device)
    return Work(model, TrainingStep(model), setting.shape(setting.our_groups), rank)


def train_plain(setting: Setting, rank: Rank) -> Work:
    """Training steps of the plain way."""
    model = Plain(setting, rank.device)
    return Work(model, TrainingStep(model), setting.shape(setting.groups), rank)


class TrainingStep:
    """A step of AdamW on all parameters, in one pass over them for both ways, as `train.engine` has it.

    Args:
        model: to train.
    """

    def __init__(self, model: Model) -> None:
        model.module.train()
        self.parameters = list(model.module.parameters())
        self.optimizer = torch.optim.AdamW(self.parameters, lr=_LEARNING_RATE, fused=True)

    def __call__(self, model: Model, times: PartTimes, ready: Any) -> None:
        """Update the weights."""
        with times.part("loss"):
            loss = model.loss(ready)
        with times.part("backward"):
            loss.backward()
        with times.part("optimizer"):
            torch.nn.utils.clip_grad_norm_(self.parameters, _CLIP)
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
