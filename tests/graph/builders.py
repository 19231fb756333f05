"""A small log with planted tastes, and its training."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from gensr_dist.data.cf_vectors import load_cf
from gensr_dist.data.timelines.splits import Split
from gensr_dist.data.timelines.timelines import Timelines
from gensr_dist.graph.config import LightGCNConfig
from gensr_dist.graph.cross_fitting import train_lightgcn
from gensr_dist.graph.result import LightGCNResult
from gensr_dist.graph.trainer import ColumnTrainer
from tests.timelines import timelines_of_columns

USERS, ITEMS = 60, 40
CONFIG = LightGCNConfig(width=8, layers=2, epochs=12, batch=128, validate_every=3, patience=2, folds=0)

step = ColumnTrainer.step


def two_tastes(seed: int = 0, events: int = 12) -> Timelines:
    """Even users take items of the lower half, odd ones of the upper; the last two events validate and test."""
    rng = np.random.default_rng(seed)
    user_N = np.repeat(np.arange(USERS), events)
    half = ITEMS // 2
    item_N = np.concatenate([rng.choice(half - 1, events, replace=False) + (user % 2) * half for user in range(USERS)])
    split_N = np.tile([Split.TRAIN] * (events - 2) + [Split.VALID, Split.TEST], USERS)
    time_N = np.tile(np.arange(events), USERS)
    return timelines_of_columns(USERS, user_N, item_N=item_N, time_N=time_N, split_N=split_N)


def train(
    folder: Path, *, timelines: Timelines | None = None, config: LightGCNConfig = CONFIG, seed: int = 3, **options
) -> tuple[LightGCNResult, np.ndarray, np.ndarray]:
    """Result, item vectors and user vectors; the checkpoint lies in `checkpoint` beside `folder`."""
    timelines = two_tastes() if timelines is None else timelines
    checkpoint = folder.with_name("checkpoint")
    result = train_lightgcn([(0, timelines)], USERS, ITEMS, config, seed, folder, checkpoint, **options)
    vectors, users = load_cf(folder, folds=False)
    return result, np.array(vectors.whole_IE), np.array(users)


def interrupted(folder: Path, monkeypatch: pytest.MonkeyPatch, steps: int, config: LightGCNConfig) -> None:
    """Train until an interrupt inside of a step, after `steps` of all trainings."""
    done = iter(range(steps))

    def some_steps(self, *batch):
        if next(done, None) is None:
            raise KeyboardInterrupt
        return step(self, *batch)

    with monkeypatch.context() as patch:
        patch.setattr(ColumnTrainer, "step", some_steps)
        with pytest.raises(KeyboardInterrupt):
            train(folder, config=config)


def without_seconds(result: LightGCNResult) -> LightGCNResult:
    return dataclasses.replace(result, seconds=0.0)
