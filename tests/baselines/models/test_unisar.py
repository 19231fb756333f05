"""UniSAR: what each view sees, what is left without one history, how its views are contrasted, planted data."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from gensr_dist.data.batches.batch import ContextBatch
from gensr_dist.data.events import Behaviour
from tests.baselines.builders import small_model
from tests.baselines.planted import FACTS, LENGTH, hits_after_training, planted


def recommended(batch: ContextBatch) -> ContextBatch:
    return replace(batch, behaviour_GL=torch.ones_like(batch.behaviour_GL), history_query_GL=batch.history_query_GL * 0)


@torch.no_grad()
def test_without_searches_it_is_self_attention_and_target_attention() -> None:
    model = small_model("unisar", FACTS, history=LENGTH)
    batch = recommended(planted("last item", 6, seed=1))
    batch.history_GL[0, 2:] = batch.behaviour_GL[0, 2:] = 0
    mask_GL = batch.history_GL > 0
    item_UD = model.item_projection(model.items(batch))
    own_GLD, (block,) = model.rec.encoder(item_UD[batch.history_GL], mask_GL), model.rec.fusion
    fused_GLD = block.self_norm(own_GLD + block.self_attention(own_GLD, own_GLD, mask_GL[:, None]))
    fused_GLD = block.cross_norm(fused_GLD)
    fused_GLD = block.feed_forward_norm(fused_GLD + block.feed_forward(fused_GLD))
    candidate_GCD = item_UD[batch.candidate_GC]
    interest_GCD = model.rec.attention(candidate_GCD, fused_GLD, mask_GL)
    user_GCD = model.users(batch.user_G)[:, None].expand_as(candidate_GCD)
    query_GCD = model.no_query_D.expand_as(candidate_GCD)
    input_GCX = torch.cat((interest_GCD, torch.zeros_like(interest_GCD), candidate_GCD, user_GCD, query_GCD), -1)
    expected_GC = model.networks.towers[0](model.networks.experts(input_GCX)[0])
    torch.testing.assert_close(model.score(batch), expected_GC)


@torch.no_grad()
def test_a_cross_view_reads_the_other_history_alone() -> None:
    """With one entry of a row changed, other entries change where it is of the other kind."""
    model = small_model("unisar", FACTS, history=LENGTH)
    batch = planted("last item", 8, seed=1)
    batch.behaviour_GL[:] = torch.tensor([1, 2, 1, 2])
    item_UD, query_KD = model.item_projection(model.items(batch)), model.query(batch.query_KQ)
    for place, kind in enumerate((0, 1, 0, 1)):
        changed = replace(batch, history_GL=batch.history_GL.clone())
        changed.history_GL[:, place] = changed.history_GL[:, place] % len(FACTS.popularity_I) + 1
        before, after = (model._views(each, item_UD, query_KD) for each in (batch, changed))
        for which, (old, new) in enumerate(zip(before, after, strict=True)):
            others_L = old.mask_GL[0] & (torch.arange(LENGTH) != place)
            cross_changes = (old.cross_GLD - new.cross_GLD)[:, others_L].abs().amax((0, 2)) > 1e-4
            own_changes = (old.own_GLD - new.own_GLD)[:, others_L].abs().amax((0, 2)) > 1e-4
            assert (cross_changes == (which != kind)).all()
            assert (own_changes == (which == kind)).all()


@torch.no_grad()
def test_the_contrast_of_views_matches_the_loops_and_spares_rows_of_one_user() -> None:
    model = small_model("unisar", FACTS, history=LENGTH).double()
    batch = planted("last item", 5, seed=1)
    batch.behaviour_GL[:, :2] = torch.tensor([1, 2])
    batch.behaviour_GL[4] = 1  # has no searches
    user_G = torch.tensor([7, 8, 7, 9, 9])
    rec, _ = model._views(batch, model.item_projection(model.items(batch)), model.query(batch.query_KQ))
    contrast = model.rec.contrast
    vectors, owners = [], []
    for view_GLD in (rec.own_GLD, rec.cross_GLD):
        for g in (0, 1, 2):  # row 3 is padding
            vectors.append(view_GLD[g, rec.mask_GL[g]].mean(0))
            owners.append(int(user_G[g]))
    likeness = [
        [(z @ contrast.weight_DD @ w).tanh() / contrast.log_temperature.exp()[0] for w in vectors] for z in vectors
    ]
    expected = torch.zeros((), dtype=torch.float64)
    for n in range(6):
        partner = (n + 3) % 6
        others = [m for m in range(6) if owners[m] != owners[n]]
        for logits in ([likeness[n][m] for m in (partner, *others)], [likeness[m][n] for m in (partner, *others)]):
            expected += (torch.stack(logits).logsumexp(0) - logits[0]) / 12
    counts_G = torch.tensor([True, True, True, False, True])
    own_GD, cross_GD, both_G = rec.means()
    torch.testing.assert_close(model.rec.agreement(own_GD, cross_GD, both_G & counts_G, user_G), expected)


@pytest.mark.parametrize("searches", [0, 1, 4, 8])
@torch.no_grad()
def test_the_mean_over_searches_weighs_lambda_times_that_over_recommendations(searches: int) -> None:
    """However few they are."""
    batch = planted("last item", 9, seed=1)
    batch.task_G[:searches] = int(Behaviour.SEARCH)
    batch.row_G[8] = -1
    model = small_model("unisar", FACTS, history=LENGTH, search=0.25)
    score_GC = model.score(batch)
    sign_C = torch.where(torch.arange(score_GC.shape[1]) == 0, -1, 1)
    loss_G = nn.functional.softplus(sign_C * score_GC).mean(1)[:8]
    expected = torch.zeros(())
    if searches:
        expected = expected + 0.25 * loss_G[:searches].mean()
    if searches < 8:
        expected = expected + loss_G[searches:].mean()
    torch.testing.assert_close(model(replace(batch, step_groups=16)).parts["ranking"], expected / 2)


@torch.no_grad()
def test_scores_are_logits_and_each_task_has_its_own() -> None:
    model = small_model("unisar", FACTS, history=LENGTH)
    batch = planted("query", 8, seed=1)
    as_recommendation = replace(batch, task_G=torch.zeros_like(batch.task_G))
    assert model.score(batch).abs().max() > 1
    assert not torch.allclose(model.score(batch), model.score(as_recommendation))
    other_query = replace(as_recommendation, query_GQ=batch.query_GQ.flip(0))
    torch.testing.assert_close(model.score(other_query), model.score(as_recommendation))


@pytest.mark.parametrize("clue", ["past query", "last item", "query"])
def test_it_learns(clue: str) -> None:
    assert hits_after_training("unisar", clue, until=0.8) > 0.8


def test_experts_and_towers_are_modules() -> None:
    """So that all of their weights are trained."""
    model = small_model("unisar", FACTS, history=LENGTH)
    assert sum(isinstance(each, nn.Linear) for each in model.networks.modules()) == 5 + 2 * 5
