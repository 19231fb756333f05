"""What the soft filters attend to, against what they compute."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from gensr_dist.model.attention_weights import attended_history, mean_entropies
from gensr_dist.model.soft_filter import MeanFilter, SoftFilter
from tests.model.builders import random_batch, tiny_model


@pytest.mark.parametrize("heads", [1, 2])
@torch.no_grad()
def test_the_filter_is_the_sum_of_values_with_these_weights(heads: int) -> None:
    """With one value matrix for all heads, their mean weights make the mean of the heads' sums."""
    torch.manual_seed(0)
    G, C, N, D = 3, 4, 5, 6
    soft = SoftFilter(D, heads).double()
    soft.value_HKD.copy_(soft.value_HKD[:1].expand_as(soft.value_HKD))
    candidate_GCD, history_GND = torch.randn(G, C, D).double(), torch.randn(G, N, D).double()
    mask_GN = torch.tensor([[True] * 5, [True, True, False, False, False], [False] * 5])
    weight_GCN = soft.weights(candidate_GCD, history_GND, mask_GN).double()
    torch.testing.assert_close(weight_GCN.sum(2), mask_GN.any(1)[:, None].double().expand(G, C), rtol=1e-6, atol=1e-6)
    assert (weight_GCN[~mask_GN[:, None].expand(G, C, N)] == 0).all()
    filtered_GCHK = soft(candidate_GCD, history_GND, mask_GN).unflatten(-1, (heads, -1))
    expected_GCK = weight_GCN @ (history_GND @ soft.value_HKD[0].T)
    torch.testing.assert_close(filtered_GCHK[:2].mean(2), expected_GCK[:2], rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_the_mean_attends_to_all_alike() -> None:
    mask_GN = torch.tensor([[True, True, False], [False] * 3])
    weight_GCN = MeanFilter(4).weights(torch.zeros(2, 2, 4), torch.zeros(2, 3, 4), mask_GN)
    assert weight_GCN.tolist() == [[[0.5, 0.5, 0.0]] * 2, [[0.0] * 3] * 2]


@pytest.mark.parametrize("history", ["pooled", "tokens"])
@torch.no_grad()
def test_shares_of_interactions(history: str) -> None:
    """They add up to 1, padding has none, and a title's tokens count for its interaction."""
    model = tiny_model(semantic_history=history)
    for soft in (model.cf_filter, model.semantic_filter):
        for weight in soft.parameters():
            nn.init.normal_(weight, std=0.2)
    batch = random_batch(5, groups=6)
    empty = torch.tensor([0])
    batch = replace(
        batch,
        history_GL=batch.history_GL.index_fill(0, empty, 0),
        behaviour_GL=batch.behaviour_GL.index_fill(0, empty, 0),
    )
    inputs = model.inputs(batch)
    cf_GCL, semantic_GCL = attended_history(model, inputs)
    there_GL = batch.history_GL != 0
    titled_GL = there_GL & (batch.title_UT[batch.history_GL] != 0).any(2) if history == "tokens" else there_GL
    for share_GCL, some_GL in ((cf_GCL, there_GL), (semantic_GCL, titled_GL)):
        assert share_GCL.shape == (*batch.candidate_GC.shape, batch.history_GL.shape[1])
        expected_GC = some_GL.any(1)[:, None].float().expand(share_GCL.shape[:2])
        torch.testing.assert_close(share_GCL.sum(2), expected_GC)
        assert (share_GCL[~some_GL[:, None].expand_as(share_GCL)] == 0).all()
        assert (share_GCL > 0).sum() == some_GL.sum() * share_GCL.shape[1]
    if history == "tokens":
        views = model.views(inputs)
        weight_GCN = model.semantic_filter.weights(
            views.text_UD[batch.candidate_GC], views.text_GND, inputs.semantic_history.mask_GN
        )
        for g, history_L in enumerate(batch.history_GL.tolist()):
            start = 0
            for place, slot in enumerate(history_L):
                tokens = int((batch.title_UT[slot] != 0).sum()) if slot else 0
                expected_C = weight_GCN[g, :, start : start + tokens].sum(1)
                torch.testing.assert_close(semantic_GCL[g, :, place], expected_C)
                start += tokens


def test_entropies_are_those_of_the_shares() -> None:
    model = tiny_model().train()
    for soft in (model.cf_filter, model.semantic_filter):
        for weight in soft.parameters():
            nn.init.normal_(weight, std=0.5)
    batch = random_batch(5, groups=6)
    inputs = model.inputs(batch)
    found = mean_entropies(model, inputs)
    assert model.training
    with torch.no_grad():
        shares = attended_history(model.eval(), inputs)
    for view, share_GCL in (("cf", shares.cf_GCL), ("semantic", shares.semantic_GCL)):
        values = [
            -sum(weight * math.log(weight) for weight in share_GCL[group, place].double().tolist() if weight > 0)
            for group, place in (batch.label_GC >= 0).nonzero().tolist()
            if (batch.behaviour_GL[group] != 0).any()
        ]
        assert found[view] == pytest.approx(sum(values) / len(values), rel=1e-5)
    nobody = replace(batch, behaviour_GL=torch.zeros_like(batch.behaviour_GL))
    assert mean_entropies(model, model.inputs(nobody)) == {}
