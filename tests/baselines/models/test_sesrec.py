"""SESRec: its triplet against loops, empty histories, and planted data."""

from dataclasses import replace

import pytest
import torch

from gensr_dist.baselines.models.sesrec import SESRec, SESRecSettings
from tests.baselines.builders import small_model
from tests.baselines.planted import FACTS, LENGTH, hits_after_training, planted


@torch.no_grad()
def test_the_triplet_matches_the_loops() -> None:
    model = small_model("sesrec", FACTS, history=LENGTH, margin=5.0).double()
    batch = planted("last item", 6, seed=1)
    batch.behaviour_GL[0] = 1  # no search
    batch.history_GL[1, 1:] = batch.behaviour_GL[1, 1:] = 0  # one interaction
    item_UD, query_KD = model.item_linear(model.items(batch)), model.query(batch.query_KQ)
    entry_GLD, asked_GLD = item_UD[batch.history_GL], query_KD[batch.history_query_GL]
    masks = batch.behaviour_GL & 1 > 0, batch.behaviour_GL & 2 > 0
    encoded = model.rec(entry_GLD, masks[0]), model.search(entry_GLD + asked_GLD, masks[1])
    weights = model.co_attention(*encoded, *masks)
    _, found_G = model._read(batch)
    for g in range(6):
        expected = torch.zeros((), dtype=torch.float64)
        for h_LD, a_L, mask_L in ((each[g] for each in part) for part in zip(encoded, weights, masks, strict=True)):
            own = [place for place in range(LENGTH) if mask_L[place]]
            if not own:
                continue
            near = [place for place in own if a_L[place] * len(own) >= 1 - 1e-5] or own
            far = [place for place in own if a_L[place] * len(own) < 1 - 1e-5] or own
            anchor_D = sum(a_L[place] * h_LD[place] for place in own)
            near_distance, far_distance = (
                (anchor_D - torch.stack([h_LD[place] for place in kind]).mean(0) + 1e-6).norm() for kind in (near, far)
            )
            expected = expected + (near_distance - far_distance + 5.0).clamp_min(0)
        torch.testing.assert_close(found_G[g], expected)


@torch.no_grad()
def test_without_searches_the_past_queries_say_nothing() -> None:
    model = small_model("sesrec", FACTS, history=LENGTH)
    batch = planted("last item", 6, seed=1)
    alone = replace(batch, behaviour_GL=torch.ones_like(batch.behaviour_GL))
    silent = replace(alone, history_query_GL=alone.history_query_GL * 0)
    torch.testing.assert_close(model.score(alone), model.score(silent))
    assert not torch.equal(model.score(batch), model.score(alone))


def test_it_begins_and_drops_as_the_authors_program() -> None:
    torch.manual_seed(0)
    model = SESRec(SESRecSettings(), FACTS).train()
    for history in (model.rec, model.search):
        (block,) = history.encoder.blocks
        assert (block.attention.dropout, block.residual_dropout.rate) == (0.0, 0.1)
        x_GD = torch.randn(6, 32)
        assert torch.equal(block.feed_forward(x_GD), block.feed_forward(x_GD))
        for linear in (block.attention.query, block.attention.out, block.feed_forward[0], block.feed_forward[3]):
            assert linear.weight.std().item() == pytest.approx(32**-0.5, rel=0.1)  # by Xavier's rule
    affinity_DD, *others = model.co_attention.parameters()
    assert affinity_DD.min() >= 0
    assert affinity_DD.mean().item() == pytest.approx(0.5, rel=0.1)
    for weight_D in others:
        assert weight_D.std().item() == pytest.approx(1, rel=0.4)


def test_it_learns_from_past_queries_and_from_the_last_item() -> None:
    assert hits_after_training("sesrec", "past query", until=0.9) > 0.9
    assert hits_after_training("sesrec", "last item", until=0.9) > 0.9
