"""`gensr bench score`: candidates scored a second, by ours and the plain way."""

from pathlib import Path
from typing import Any

import torch

from gensr_dist.bench.parts import PartTimes
from gensr_dist.bench.speed import SpeedBench, compare
from gensr_dist.bench.turns import Rank, Way
from gensr_dist.bench.ways import BatchGroups, Model, Ours, Plain, Setting, Work

GROUPS = BatchGroups(cpu=2, gpu_plain=16, gpu_ours=64)  # 2: half a minute of the plain way, with `small`


def bench_score(setting: Setting, *, rounds: int, profile: Path | None) -> SpeedBench:
    """Score random candidates both ways, without gradients and dropout.

    Args:
        setting: what a pass computes.
        rounds: of each way, alternated.
        profile: folder for a trace of a pass of ours.

    Raises:
        InputError: see `check_setting`.
    """
    return compare(Way(score_ours), Way(score_plain), setting, rounds=rounds, training=False, profile=profile)


def score_ours(setting: Setting, rank: Rank) -> Work:
    """Scoring passes of ours."""
    model = Ours(setting, rank.device)
    model.module.eval()
    return Work(model, score_pass, setting.shape(setting.our_groups), rank)


def score_plain(setting: Setting, rank: Rank) -> Work:
    """Scoring passes of the plain way."""
    model = Plain(setting, rank.device)
    model.module.eval()
    return Work(model, score_pass, setting.shape(setting.groups), rank)


def score_pass(model: Model, times: PartTimes, ready: Any) -> None:
    """Scores of a batch, on the host."""
    with torch.no_grad(), times.part("other"):
        model.score(ready).cpu()
