"""TEM and CoPPS."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from gensr_dist.baselines.layers.positions import sinusoids
from gensr_dist.baselines.registry import BASELINES
from tests.baselines.layers.checks import assert_close, learnt
from tests.baselines.models.planted import build, facts, query_vector, random_rows


@pytest.mark.parametrize("name", ["tem", "copps"])
@torch.no_grad()
def test_without_layers_it_is_qem_with_the_same_weights(name: str) -> None:
    model = learnt(build(name, {"layers": 0}))
    qem = build("qem").double()
    qem.load_state_dict(model.state_dict())
    batch = random_rows(1)
    assert torch.equal(model.score(batch), qem.score(batch))
    torch.manual_seed(1)
    of_words = qem(batch).parts
    torch.manual_seed(1)
    parts = model(batch).parts
    assert {key: parts[key] for key in of_words} == of_words


@torch.no_grad()
def test_reads_the_query_and_then_the_items() -> None:
    model: Any = learnt(build("tem", {"layers": 1}))
    batch = random_rows(2)
    score_GC = model.score(batch)
    for group in range(len(score_GC)):
        items = [model.items.table.weight[slot - 1] for slot in batch.history_GL[group].tolist() if slot]
        query_D = query_vector(model, batch.query_GQ[group])
        input_MD = torch.stack([query_D, *items]) * len(query_D) ** 0.5
        input_MD = input_MD + sinusoids(len(input_MD), input_MD.shape[1], input_MD.device).double()
        everything = torch.ones(1, 1, len(input_MD), dtype=torch.bool)
        intent_D = model.encoder(input_MD[None], everything)[0, 0]
        for place, slot in enumerate(batch.candidate_GC[group].tolist()):
            assert_close(score_GC[group, place], intent_D @ model.items.table.weight[slot - 1] + model.bias_I[slot - 1])


def test_is_made_as_in_the_authors_example() -> None:
    model: Any = BASELINES["tem"].build(BASELINES["tem"].settings(), facts())
    (block,) = model.encoder.blocks
    assert block.norm == "pre"
    assert isinstance(block.feed_forward[1], nn.GELU)
    weights = [each.weight.flatten() for each in block.modules() if isinstance(each, nn.Linear)]
    assert len(weights) == 6
    assert all(weight.std() > 0.05 for weight in weights)  # by Xavier's rule, .056 to .088


@torch.no_grad()
def test_the_order_of_the_history_matters() -> None:
    model = learnt(build("tem"))
    batch = random_rows(3)
    before = model.score(batch)
    batch.history_GL[-1] = batch.history_GL[-1].flip(0)
    after = model.score(batch)
    assert_close(after[:-1], before[:-1])
    assert (after[-1] - before[-1]).abs().max() > 1e-3


@torch.no_grad()
def test_copps_without_contrast_is_tem() -> None:
    copps, tem = build("copps", {"contrast": 0.0}), build("tem")
    tem.load_state_dict(copps.state_dict())
    batch = random_rows(4)
    losses = []
    for model in (copps, tem):
        torch.manual_seed(2)
        losses.append(model(batch).parts)
    assert losses[0] == losses[1]


def test_histories_that_cannot_be_changed_have_no_contrast() -> None:
    model = build("copps")
    batch = random_rows(5)
    batch.history_GL[:, 1:] = 0
    assert model(batch).parts["contrast"] == 0
    batch = random_rows(5)
    assert model(batch).parts["contrast"] > 0
    assert model(replace(batch, row_G=torch.full_like(batch.row_G, -1))).parts["contrast"] == 0


def test_rows_of_one_user_are_no_negatives_of_each_other() -> None:
    model = build("copps")
    batch = random_rows(6)
    assert model(replace(batch, user_G=torch.zeros_like(batch.user_G))).parts["contrast"].abs() < 1e-6
