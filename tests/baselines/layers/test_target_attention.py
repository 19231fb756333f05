"""Attention of candidates over a history, against loops in float64."""

import pytest
import torch
from torch import Tensor, nn

from gensr_dist.baselines.layers.target_attention import (
    BilinearTargetAttention,
    MLPTargetAttention,
    Weights,
)
from tests.baselines.layers.checks import FAR, assert_close, assert_trains, dense, learnt, masks, normal, softmax

G, C, L, D = 4, 3, 5, 6
LAYERS: list[nn.Module] = [
    BilinearTargetAttention(D),
    MLPTargetAttention(D, "softmax"),
    MLPTargetAttention(D, "raw"),
]
NAMES = ["bilinear", "softmax", "raw"]
every_layer = pytest.mark.parametrize("layer", [learnt(layer) for layer in LAYERS], ids=NAMES)


def given(seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    return normal(seed, G, C, D), normal(seed + 1, G, L, D), masks(seed + 2, G, L)


def weighted(weights: list[Tensor], history: list[Tensor]) -> Tensor:
    return sum((w * h_D for w, h_D in zip(weights, history, strict=True)), torch.zeros(D, dtype=torch.float64))


@torch.no_grad()
def test_bilinear_matches_the_loops() -> None:
    layer = learnt(BilinearTargetAttention(D))
    candidate_GCD, history_GLD, mask_GL = given()
    found_GCD = layer(candidate_GCD, history_GLD, mask_GL)
    for g in range(G):
        history = list(history_GLD[g][mask_GL[g]])
        for c in range(C):
            logits = [h_D @ layer.weight_DD @ candidate_GCD[g, c] for h_D in history]
            assert_close(found_GCD[g, c], weighted(softmax(logits) if logits else [], history))


def gate(layer: MLPTargetAttention, k_D: Tensor, h_D: Tensor) -> Tensor:
    """a(k, h)."""
    hidden = dense(layer.first, torch.cat([k_D, h_D, k_D - h_D, k_D * h_D])).sigmoid()
    return dense(layer.rest[3], dense(layer.rest[1], hidden).sigmoid())[0]


@pytest.mark.parametrize("weights", ["softmax", "raw"])
@torch.no_grad()
def test_mlp_matches_the_loops(weights: Weights) -> None:
    layer = learnt(MLPTargetAttention(D, weights))
    assert [layer.first.out_features, layer.rest[1].out_features] == [80, 40]
    candidate_GCD, history_GLD, mask_GL = given()
    found_GCD = layer(candidate_GCD, history_GLD, mask_GL)
    for g in range(G):
        history = list(history_GLD[g][mask_GL[g]])
        for c in range(C):
            gates = [gate(layer, candidate_GCD[g, c], h_D) for h_D in history]
            if weights == "softmax" and gates:
                gates = softmax([a / D**0.5 for a in gates])
            assert_close(found_GCD[g, c], weighted(gates, history))


@every_layer
@torch.no_grad()
def test_padding_and_other_candidates_and_rows_do_not_matter(layer: nn.Module) -> None:
    candidate_GCD, history_GLD, mask_GL = given()
    found_GCD = layer(candidate_GCD, history_GLD, mask_GL)
    assert (found_GCD[0] == 0).all()
    wider_GL = nn.functional.pad(mask_GL, (0, 2))
    wider_GLD = torch.full((G, L + 2, D), FAR, dtype=torch.float64)
    wider_GLD[wider_GL] = history_GLD[mask_GL]
    assert_close(layer(candidate_GCD, wider_GLD, wider_GL), found_GCD)
    alone_1CD = layer(candidate_GCD[1:2, 2:], history_GLD[1:2], mask_GL[1:2])
    assert_close(alone_1CD[0, 0], found_GCD[1, 2])


@every_layer
@torch.no_grad()
def test_the_order_of_the_history_does_not_matter(layer: nn.Module) -> None:
    candidate_GCD, history_GLD, mask_GL = given()
    shuffled = torch.tensor([3, 0, 4, 1, 2])
    found_GCD = layer(candidate_GCD, history_GLD[:, shuffled], mask_GL[:, shuffled])
    assert_close(found_GCD, layer(candidate_GCD, history_GLD, mask_GL))


@every_layer
def test_a_batch_with_an_empty_row_trains(layer: nn.Module) -> None:
    candidate_GCD, history_GLD, mask_GL = given()
    history_GLD.requires_grad_()
    out_GCD = layer(candidate_GCD, history_GLD, mask_GL)
    if getattr(layer, "weights", "softmax") == "softmax" and hasattr(layer, "rest"):
        assert_trains(layer, out_GCD, "rest.3.bias")  # the same for all: softmax does not see it
    else:
        assert_trains(layer, out_GCD)
    assert ((history_GLD.grad != 0).any(2) == mask_GL).all()
    assert torch.isfinite(history_GLD.grad).all()
