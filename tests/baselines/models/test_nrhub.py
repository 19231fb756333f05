"""NRHUB against loops, with one view alone, and on planted data."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from gensr_dist.baselines.layers.pooling import AdditivePooling
from gensr_dist.baselines.models.nrhub import NRHUB, NRHUBSettings
from tests.baselines.builders import small_model
from tests.baselines.layers.checks import softmax
from tests.baselines.planted import FACTS, LENGTH, hits_after_training, planted


def pooled(layer: AdditivePooling, vectors: list[Tensor]) -> Tensor:
    logits = [layer.logit.weight[0] @ (layer.hidden.weight @ each + layer.hidden.bias).tanh() for each in vectors]
    return sum(weight * each for weight, each in zip(softmax(logits), vectors, strict=True))


@torch.no_grad()
def test_queries_begin_as_large_as_items_and_unlike_each_other() -> None:
    torch.manual_seed(0)
    model = NRHUB(NRHUBSettings(), FACTS)
    query_KD = model.query(torch.arange(1, 21)[:, None])
    assert query_KD.std().item() == pytest.approx(0.02, rel=0.2)
    assert F.cosine_similarity(query_KD[:10], query_KD[10:]).mean().abs() < 0.2


@torch.no_grad()
def test_the_user_matches_the_loops() -> None:
    model = small_model("nrhub", FACTS, history=LENGTH).double()
    batch = planted("last item", 6, seed=1)
    batch.behaviour_GL[0], batch.behaviour_GL[1] = 1, 2
    batch.history_query_GL[0] = 0
    batch.history_GL[2, 2:] = batch.behaviour_GL[2, 2:] = batch.history_query_GL[2, 2:] = 0
    item_UD, table_WD = model.items(batch), model.words.weight
    linear = model.query[1]
    for g, user_D in enumerate(model.user(batch, item_UD)):
        entries = [place for place in range(LENGTH) if batch.history_GL[g, place] > 0]
        rec, queries, search = [], [], []
        for place in entries:
            item_D = item_UD[batch.history_GL[g, place]]
            rec += [item_D] if batch.behaviour_GL[g, place] & 1 else []
            search += [item_D] if batch.behaviour_GL[g, place] & 2 else []
            if batch.history_query_GL[g, place]:
                word_D = table_WD[batch.query_KQ[batch.history_query_GL[g, place], 0]]
                queries.append((linear.weight @ word_D + linear.bias).tanh())
        views = [
            pooled(layer, view) for layer, view in zip(model.pool_views, (rec, queries, search), strict=True) if view
        ]
        torch.testing.assert_close(user_D, pooled(model.pool_user, views))


@torch.no_grad()
def test_with_recommendations_alone_it_is_additive_attention() -> None:
    model = small_model("nrhub", FACTS, history=LENGTH)
    batch = planted("last item", 6, seed=1)
    alone = replace(
        batch, behaviour_GL=torch.ones_like(batch.behaviour_GL), history_query_GL=batch.history_query_GL * 0
    )
    item_UD = model.items(alone)
    user_GD = model.pool_views[0](item_UD[alone.history_GL], alone.history_GL > 0)
    expected_GC = torch.einsum("gd,gcd->gc", user_GD, item_UD[alone.candidate_GC])
    torch.testing.assert_close(model.score(alone), expected_GC)


@torch.no_grad()
def test_the_order_of_a_history_does_not_matter() -> None:
    model = small_model("nrhub", FACTS, history=LENGTH)
    batch = planted("past query", 6, seed=1)
    turned = {name: getattr(batch, name).flip(1) for name in ("history_GL", "behaviour_GL", "history_query_GL")}
    torch.testing.assert_close(model.score(replace(batch, **turned)), model.score(batch))


def test_it_learns_from_past_queries_and_cannot_tell_the_last_item() -> None:
    assert hits_after_training("nrhub", "past query", until=0.9) > 0.9
    assert hits_after_training("nrhub", "last item") < 0.6
