"""Per-task sums against loops in float64; MFU against its formula."""

import math
from types import SimpleNamespace
from typing import cast

import pytest
import torch

from gensr_dist.data.events import Behaviour
from gensr_dist.model.gensr import GenSROutput
from gensr_dist.train.diagnostics import flops_utilisation, task_sums
from tests.model.builders import random_batch


def test_sums_of_each_task_are_those_of_its_prompts() -> None:
    batch = random_batch(3, groups=7)
    generator = torch.Generator().manual_seed(0)
    odds_GC = torch.randn(batch.label_GC.shape, generator=generator) * 3
    nll_GC = torch.where(batch.label_GC >= 0, torch.rand(batch.label_GC.shape, generator=generator), 0.0)
    output = cast(GenSROutput, SimpleNamespace(yes_log_odds_GC=odds_GC, nll_GC=nll_GC))
    sum_KS = task_sums(output, batch)
    tasks = list(Behaviour)
    expected = [[0.0] * 7 for _ in tasks]
    for group, candidates in enumerate(batch.label_GC.tolist()):
        row = expected[tasks.index(Behaviour(int(batch.task_G[group])))]
        for place, label in enumerate(candidates):
            if label < 0:
                continue
            odds = float(odds_GC[group, place])
            row[0] += float(nll_GC[group, place])
            row[1] += 1
            row[2 if label else 4] += odds
            row[3 if label else 5] += 1
            row[6] += (1 / (1 + math.exp(-odds)) - label) ** 2
    torch.testing.assert_close(sum_KS, torch.tensor(expected, dtype=torch.float64))
    assert (sum_KS[:, 1] > 0).all()


def test_utilisation_is_known_of_gpus_whose_peak_is() -> None:
    share = flops_utilisation(1_000_000, 9_890_000, 0.5, 2, "NVIDIA H200")
    assert share == pytest.approx(6 * 1e6 * 9.89e6 / (0.5 * 2 * 989e12))
    assert flops_utilisation(1, 1, 1.0, 1, "some CPU") is None
