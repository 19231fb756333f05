"""UnifiedSSR: no position sees later ones, sessions against loops, SASRec's form in recommendation, planted data."""

from dataclasses import replace
from typing import Any

import torch

from gensr_dist.baselines.layers.encoder import causal_mask
from gensr_dist.baselines.layers.positions import sinusoids
from gensr_dist.baselines.layers.siamese import SessionWindows, SiameseLayer
from gensr_dist.baselines.registry import BASELINES
from tests.baselines.builders import small_model
from tests.baselines.layers.checks import assert_close, assert_trains, learnt, normal
from tests.baselines.planted import FACTS, LENGTH, hits_after_training, planted


@torch.no_grad()
def test_layers_are_causal_in_both_branches() -> None:
    layer = learnt(SiameseLayer(4, 2, 8, 0.0, 0.0))
    x_GLD, other_GLD = normal(1, 2, 5, 4), normal(2, 2, 5, 4)
    before_GLD = layer(x_GLD, other_GLD, causal_mask(5))
    x_GLD[:, 3:], other_GLD[:, 3:] = 7.0, -7.0
    assert_close(layer(x_GLD, other_GLD, causal_mask(5))[:, :3], before_GLD[:, :3])


def test_sessions_match_the_loops_and_train() -> None:
    layer = learnt(SessionWindows(3, 2))
    x_GLD, length_G = normal(1, 4, 5, 3), torch.tensor([5, 3, 2, 1])
    added_GLD, mean_GSD = layer(x_GLD, length_G)
    for g, n in enumerate(length_G.tolist()):
        expected_LD = torch.zeros(5, 3, dtype=torch.float64)
        for s in range(2 if n > 1 else 0):
            part = [x_GLD[g, place] for place in range(n) if int((place + 0.5) / n * 2) == s]
            shift, size = layer.offset.weight @ torch.stack(part).mean(0).relu()
            centre, half = (s + 0.5 + shift.tanh()) / 2, size.sigmoid() / 2
            weights = [((half - ((place + 0.5) / n - centre).abs()) * n).sigmoid() for place in range(n)]
            mean_D = sum(w * x_GLD[g, place] for place, w in enumerate(weights)) / sum(weights)
            assert_close(mean_GSD[g, s], mean_D)
            for place, w in enumerate(weights):
                expected_LD[place] = expected_LD[place] + w.detach() * mean_D.detach()
        assert_close(added_GLD[g].detach(), expected_LD)
    assert_trains(layer, added_GLD)


@torch.no_grad()
def test_recommendation_without_sessions_is_self_attention_with_a_user() -> None:
    """Products alone, each layer attending to itself twice; what was asked for does not matter."""
    model = small_model("unifiedssr", FACTS, history=LENGTH, windows=0)
    batch = planted("last item", 6, seed=1)
    scale, item_UD = 4.0, model.items(batch) * 4.0
    x_GLD = torch.cat((model.first_D.expand(6, 1, -1) * scale, item_UD[batch.history_GL]), 1)
    x_GLD = x_GLD + model.users(batch.user_G)[:, None] * scale + sinusoids(LENGTH + 1, 16, x_GLD.device)
    for layer in model.layers:
        x_GLD = layer(x_GLD, x_GLD, causal_mask(LENGTH + 1))
    expected_GC = torch.einsum("gd,gcd->gc", model.norm(x_GLD)[:, -1], item_UD[batch.candidate_GC])
    torch.testing.assert_close(model.score(batch), expected_GC)
    silent = replace(batch, history_query_GL=batch.history_query_GL * 0)
    torch.testing.assert_close(model.score(silent), model.score(batch))


@torch.no_grad()
def test_a_query_is_the_mean_of_its_words_or_a_learnt_vector() -> None:
    model: Any = small_model("unifiedssr", FACTS, history=LENGTH)
    table_VD = model.words.weight
    expected_XD = torch.stack(((table_VD[3] + table_VD[5]) / 2, table_VD[2], model.no_words_D))
    torch.testing.assert_close(model._query(torch.tensor([[3, 5], [2, 0], [0, 0]])), expected_XD)


def test_weights_of_attention_are_dropped_less_than_the_rest() -> None:
    model: Any = BASELINES["unifiedssr"].build(BASELINES["unifiedssr"].settings(), FACTS)
    for layer in model.layers:
        assert layer.self_attention.dropout == layer.cross_attention.dropout == 0.1
        assert layer.residual_dropout.rate == model.dropout.rate == 0.5


@torch.no_grad()
def test_a_search_mixes_both_branches_within_bounds() -> None:
    batch = planted("query", 6, seed=1)
    scores = {}
    for mix in (-3.0, 0.1, 0.5, 0.9, 4.0):
        model = small_model("unifiedssr", FACTS, history=LENGTH)
        model.mix.fill_(mix)
        scores[mix] = model.score(batch)
    torch.testing.assert_close(scores[-3.0], scores[0.1])
    torch.testing.assert_close(scores[4.0], scores[0.9])
    torch.testing.assert_close(scores[0.5], (scores[0.1] + scores[0.9]) / 2)


def test_it_learns_from_the_last_item_and_from_the_query_and_reads_no_past_query_in_recommendation() -> None:
    assert hits_after_training("unifiedssr", "last item", until=0.9) > 0.9
    assert hits_after_training("unifiedssr", "query", until=0.9) > 0.9
    assert hits_after_training("unifiedssr", "past query") < 0.3
