"""`gensr bench score`: candidates scored a second, by ours and the plain way."""

from pathlib import Path
from typing import Any, Literal

import torch

from gensr_dist.bench.parts import PartTimes
from gensr_dist.bench.speed import SpeedBench, check_setting, compare
from gensr_dist.bench.synthetic import Lengths
from gensr_dist.bench.turns import Rank, Way
from gensr_dist.bench.ways import VOCABULARY, Model, Ours, Plain, Precision, Setting, Work

GROUPS = 2  # of a batch: the plain way takes half a minute for them on 2 cores, with `small` and 100 candidates


def bench_score(
    *,
    backbone: str = "small",
    candidates: int = 100,
    history: Literal["tokens", "pooled"] = "tokens",
    groups: int = GROUPS,
    our_groups: int | None = None,
    lengths: Lengths = "log",
    precision: Precision = "fp32",
    rounds: int = 5,
    profile: Path | None = None,
    vocabulary: int = VOCABULARY,
) -> SpeedBench:
    """Score random candidates both ways, without gradients and dropout.

    Args:
        backbone: key of `ways.BACKBONES`; weights are random.
        candidates: of a group.
        history: semantic history of title tokens (the paper's) or mean title vectors.
        groups: of a batch.
        our_groups: of a batch of ours, where it is not to have as many.
        lengths: of histories and titles, see `synthetic`.
        precision: of all weights; bf16 needs a GPU.
        rounds: of each way, alternated.
        profile: folder for a trace of a pass of ours.
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
        candidates=candidates,
        lengths=lengths,
        precision=precision,
        vocabulary=vocabulary,
    )
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
