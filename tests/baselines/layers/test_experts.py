"""Mixtures of experts and heads against loops in float64."""

import pytest
import torch
from torch import Tensor, nn

from gensr_dist.baselines.layers.experts import LogitHead, ProgressiveExperts, TaskNetworks
from tests.baselines.layers.checks import assert_close, assert_trains, dense, learnt, normal, softmax

X, D, INNER = 4, 5, 3


def experts_of(linear: nn.Linear, x_D: Tensor) -> list[Tensor]:
    """Each expert's answer, its rows of the weights cut out."""
    found = []
    for start in range(0, linear.out_features, INNER):
        rows = slice(start, start + INNER)
        found.append((linear.weight[rows] @ x_D + linear.bias[rows]).clamp_min(0))
    return found


def mixed(gate: nn.Linear, x_D: Tensor, answers: list[Tensor]) -> Tensor:
    return sum(w * answer for w, answer in zip(softmax(list(dense(gate, x_D))), answers, strict=True))


@torch.no_grad()
def test_progressive_experts_match_the_loops() -> None:
    layer = learnt(ProgressiveExperts(D, INNER, shared=3, own=2))
    x_XD = normal(1, X, D)
    for gate, own, found_XI in zip(layer.gates, layer.own, layer(x_XD), strict=True):
        for x_D, found_I in zip(x_XD, found_XI, strict=True):
            answers = experts_of(own.linear, x_D) + experts_of(layer.shared.linear, x_D)
            assert_close(found_I, mixed(gate, x_D, answers))


def test_both_tasks_train_all_that_they_have() -> None:
    layer = learnt(ProgressiveExperts(D, INNER, 3, 2))
    x_XD = normal(1, 30, D)
    assert_trains(layer, torch.cat(layer(x_XD)))
    layer.zero_grad()
    layer(x_XD)[0].sum().backward()
    untouched = {name for name, each in layer.named_parameters() if each.grad is None or not each.grad.any()}
    others = {"gates.1.weight", "own.1.linear.weight", "own.1.linear.bias"}
    assert untouched == others


@pytest.mark.parametrize("layer", [ProgressiveExperts(D, INNER, 3, 2), LogitHead(D)])
@torch.no_grad()
def test_rows_do_not_depend_on_each_other_and_may_have_any_shape(layer: nn.Module) -> None:
    learnt(layer)
    x_XD = normal(1, X, D)

    def stacked(x_XD: Tensor) -> Tensor:
        out = layer(x_XD)
        return torch.stack(out) if isinstance(out, tuple) else out[None]

    found = stacked(x_XD)
    assert_close(stacked(x_XD[2:3])[:, 0], found[:, 2])
    assert_close(stacked(x_XD.view(2, 2, D)), found.unflatten(1, (2, 2)))


def test_a_head_is_an_mlp_to_one_logit() -> None:
    head = learnt(LogitHead(D, (4, 3)))
    linear = [each for each in head.modules() if isinstance(each, nn.Linear)]
    assert [each.out_features for each in linear] == [4, 3, 1]
    x_XD = normal(1, 30, D)
    found_X = head(x_XD)
    for x_D, found in zip(x_XD, found_X, strict=True):
        for each in linear[:-1]:
            x_D = dense(each, x_D).clamp_min(0)
        assert_close(found, dense(linear[-1], x_D)[0])
    assert_trains(head, found_X)


def test_a_heads_usual_widths_and_dropout() -> None:
    head = learnt(LogitHead(D, dropout=0.5))
    assert [each.out_features for each in head.modules() if isinstance(each, nn.Linear)] == [200, 80, 1]
    x_XD = normal(1, X, D)
    assert torch.equal(head(x_XD), head(x_XD))
    head.train()
    assert not torch.equal(head(x_XD), head(x_XD))


def test_a_task_has_its_own_network() -> None:
    layer = learnt(TaskNetworks(D, INNER, 2, 6, dropout=0.0))
    x_XD, is_second_X = normal(1, X, D), torch.tensor([False, True, True, False])
    found_X = layer(x_XD, is_second_X)
    for x_D, second, found in zip(x_XD, is_second_X.tolist(), found_X, strict=True):
        tower = layer.towers[second]
        hidden = dense(tower[0], layer.experts(x_D)[second]).clamp_min(0)
        assert_close(found, tower[6](dense(tower[3], hidden).clamp_min(0)))
    assert_trains(layer, found_X)
