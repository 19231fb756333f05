"""`gensr bench step`: optimizer steps a second of ours and of the plain way.

A step is the forward pass with dropout, the loss of eq. 8, gradients of all parameters, clipping and AdamW.
"""

from pathlib import Path
from typing import Any, Literal

import torch

from gensr_dist.bench.parts import PartTimes
from gensr_dist.bench.speed import SpeedBench, check_setting, compare
from gensr_dist.bench.synthetic import Lengths
from gensr_dist.bench.turns import Rank, Way
from gensr_dist.bench.ways import VOCABULARY, Model, Ours, Plain, Precision, Setting, Work

CANDIDATES = 5  # a positive and its negatives
GROUPS = 12  # of a batch: the plain way takes half a minute for it on 2 cores, with `small`
_LEARNING_RATE = 1e-4
_CLIP = 1.0


def bench_step(
    *,
    backbone: str = "small",
    history: Literal["tokens", "pooled"] = "tokens",
    groups: int = GROUPS,
    our_groups: int | None = None,
    lengths: Lengths = "log",
    precision: Precision = "fp32",
    rounds: int = 5,
    profile: Path | None = None,
    vocabulary: int = VOCABULARY,
) -> SpeedBench:
    """Train both ways on random batches.

    Args:
        backbone: key of `ways.BACKBONES`; weights are random.
        history: semantic history of title tokens (the paper's) or mean title vectors.
        groups: of a batch.
        our_groups: of a batch of ours, where it is not to have as many.
        lengths: of histories and titles, see `synthetic`.
        precision: of all weights; bf16 needs a GPU.
        rounds: of each way, alternated.
        profile: folder for a trace of a step of ours.
        vocabulary: of the model.

    Raises:
        InputError: see `check_setting`.
    """
    check_setting(backbone, precision, profile)
    setting = Setting(
        backbone=backbone,
        history=history,
        groups=groups,
        our_groups=our_groups or groups,
        candidates=CANDIDATES,
        lengths=lengths,
        precision=precision,
        vocabulary=vocabulary,
    )
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
