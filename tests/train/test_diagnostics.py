"""Per-task sums against loops in float64; operations of T5 against a count by hand."""

import math
from types import SimpleNamespace
from typing import cast

import pytest
import torch
import torch.distributed as dist

from gensr_dist.data.batches.batch import IGNORED
from gensr_dist.data.events import Behaviour
from gensr_dist.model.gensr import GenSROutput
from gensr_dist.model.t5_modules import T5, T5Shape
from gensr_dist.train.diagnostics import Diagnostics, T5Work, flops_utilisation, t5_flops, task_sums
from tests.model.builders import random_batch, tiny_model, tiny_t5


def test_sums_of_each_task_are_those_of_its_prompts() -> None:
    batch = random_batch(3, groups=7)
    generator = torch.Generator().manual_seed(0)
    log_odds_GC = torch.randn(batch.label_GC.shape, generator=generator) * 3
    nll_GC = torch.where(batch.label_GC >= 0, torch.rand(batch.label_GC.shape, generator=generator), 0.0)
    output = cast(GenSROutput, SimpleNamespace(yes_log_odds_GC=log_odds_GC, nll_GC=nll_GC))
    sum_KS = task_sums(output, batch)
    tasks = list(Behaviour)
    expected = [[0.0] * 7 for _ in tasks]
    for group, candidates in enumerate(batch.label_GC.tolist()):
        row = expected[tasks.index(Behaviour(int(batch.task_G[group])))]
        for place, label in enumerate(candidates):
            if label < 0:
                continue
            log_odds = float(log_odds_GC[group, place])
            row[0] += float(nll_GC[group, place])
            row[1] += 1
            row[2 if label else 4] += log_odds
            row[3 if label else 5] += 1
            row[6] += (1 / (1 + math.exp(-log_odds)) - label) ** 2
    torch.testing.assert_close(sum_KS, torch.tensor(expected, dtype=torch.float64))
    assert (sum_KS[:, 1] > 0).all()


def test_operations_of_t5_are_those_of_a_count_by_hand() -> None:
    width, inner, hidden, biases = 16, 3 * 4, 24, 32 * 3
    encoder_block = 4 * width * inner + 3 * width * hidden + 2 * width  # attention, gated layer, norms
    decoder_block = 8 * width * inner + 3 * width * hidden + 3 * width
    encoder, decoder = 3 * encoder_block + biases, 3 * decoder_block + biases
    theirs = tiny_t5(layers=3)
    t5 = T5.of(T5Shape.read(theirs.config.to_dict()), theirs.state_dict())
    assert t5_flops(t5, T5Work(encoded=1_000, decoded=70)) == 6 * (1_000 * encoder + 70 * decoder)


def test_work_is_the_tokens_that_are_encoded_and_the_prompts_that_are_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dist, "all_reduce", lambda tensor: tensor.mul_(2))  # two ranks that see the same
    model, diagnostics = tiny_model(), Diagnostics(torch.device("cpu"))
    prompts = tokens = 0
    for seed in (3, 4):
        inputs = model.inputs(random_batch(seed))
        with torch.no_grad():
            diagnostics.see(model(inputs), inputs)
        prompts += int((inputs.batch.label_GC != IGNORED).sum())
        tokens += int(inputs.layout.context_mask_RS.sum() + inputs.layout.own_mask_GCN.sum())
    assert 0 < prompts < tokens
    assert diagnostics.read()[1] == T5Work(encoded=2 * tokens, decoded=2 * prompts)
    assert diagnostics.read()[1] == T5Work(encoded=0, decoded=0)


@pytest.mark.parametrize(
    ("name", "peak"),
    [
        ("NVIDIA H200", 989e12),
        ("NVIDIA H100 80GB HBM3", 989e12),
        ("NVIDIA A100-SXM4-80GB", 312e12),
        ("NVIDIA A10", 125e12),
        ("NVIDIA GeForce RTX 4090", 165e12),
    ],
)
def test_utilisation_is_known_of_gpus_whose_peak_is(name: str, peak: float) -> None:
    assert flops_utilisation(10**15, 0.5, 2, name) == pytest.approx(1e15 / (0.5 * 2 * peak))


@pytest.mark.parametrize("name", ["some CPU", "NVIDIA A10G", "NVIDIA A1000"])
def test_utilisation_is_not_known_of_others(name: str) -> None:
    assert flops_utilisation(1, 1.0, 1, name) is None
