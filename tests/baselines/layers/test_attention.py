"""Multi-head attention against loops in float64, and where nothing may be seen."""

import pytest
import torch
from torch import Tensor, nn

from gensr_dist.baselines.layers.attention import MultiHeadAttention, init_linear
from tests.baselines.layers.checks import FAR, assert_close, assert_trains, dense, learnt, normal, softmax

G, M, N, D = 3, 4, 5, 6


def attention_of(layer: MultiHeadAttention, query_D: Tensor, key_ND: Tensor, allowed_N: Tensor) -> Tensor:
    """What one query finds."""
    seen = [key_D for key_D, allowed in zip(key_ND, allowed_N, strict=True) if allowed]
    if not seen:
        return torch.zeros_like(query_D)
    width = len(query_D) // layer.heads
    heads = []
    for start in range(0, len(query_D), width):
        part = slice(start, start + width)
        asks = dense(layer.query, query_D)[part]
        weights = softmax([asks @ dense(layer.key, key_D)[part] / width**0.5 for key_D in seen])
        heads.append(sum(w * dense(layer.value, key_D)[part] for w, key_D in zip(weights, seen, strict=True)))
    return dense(layer.out, torch.cat(heads))


def allowed_by(seed: int, *shape: int) -> Tensor:
    allowed = torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < 0.5
    allowed[0, 0] = False
    return allowed


@pytest.mark.parametrize("heads", [1, 3])
@pytest.mark.parametrize("bias", [True, False])
@torch.no_grad()
def test_matches_the_loops(heads: int, bias: bool) -> None:
    layer = learnt(MultiHeadAttention(D, heads, 0.3, bias=bias))
    query_GMD, key_GND, allowed_GMN = normal(1, G, M, D), normal(2, G, N, D), allowed_by(3, G, M, N)
    found_GMD = layer(query_GMD, key_GND, allowed_GMN)
    for g in range(G):
        for m in range(M):
            expected_D = attention_of(layer, query_GMD[g, m], key_GND[g], allowed_GMN[g, m])
            assert_close(found_GMD[g, m], expected_D)


def test_a_query_that_may_see_nothing_finds_exactly_nothing() -> None:
    layer = learnt(MultiHeadAttention(D, 2, 0.0))
    query_GMD, key_GND = normal(1, G, M, D).requires_grad_(), normal(2, G, N, D).requires_grad_()
    found_GMD = layer(query_GMD, key_GND, torch.zeros(G, 1, N, dtype=torch.bool))
    assert (found_GMD == 0).all()
    found_GMD.sum().backward()
    for leaf in (query_GMD, key_GND, *layer.parameters()):
        assert (leaf.grad == 0).all()
    assert (layer(query_GMD, key_GND[:, :0], torch.zeros(1, 1, 0, dtype=torch.bool)) == 0).all()


def test_trains_beside_a_query_that_may_see_nothing() -> None:
    layer = learnt(MultiHeadAttention(D, 2, 0.0))
    found_GMD = layer(normal(1, G, M, D), normal(2, G, N, D), allowed_by(3, G, M, N))
    assert_trains(layer, found_GMD, "key.bias")  # the same for all keys of a query: softmax does not see it


@torch.no_grad()
def test_keys_that_are_not_allowed_do_not_matter() -> None:
    layer = learnt(MultiHeadAttention(D, 2, 0.0))
    query_GMD, key_GND = normal(1, G, M, D), normal(2, G, N, D)
    allowed_G1N = allowed_by(3, G, 1, N)
    changed_GND = key_GND.masked_fill(~allowed_G1N.transpose(1, 2), FAR)
    assert torch.equal(layer(query_GMD, key_GND, allowed_G1N), layer(query_GMD, changed_GND, allowed_G1N))


@torch.no_grad()
def test_weights_are_dropped_in_training_alone() -> None:
    layer = learnt(MultiHeadAttention(D, 2, 0.5))
    given = normal(1, G, M, D), normal(2, G, N, D), torch.ones(1, 1, N, dtype=torch.bool)
    assert torch.equal(layer(*given), layer(*given))
    layer.train()
    assert not torch.equal(layer(*given), layer(*given))


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(ValueError, match="width 6 is not a multiple of 4 heads"):
        MultiHeadAttention(6, 4, 0.0)


def test_linear_layers_begin_small() -> None:
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Linear(200, 100), nn.Sequential(nn.Linear(100, 200, bias=False)))
    init_linear(layers)
    assert (layers[0].bias == 0).all()
    for weight in (layers[0].weight, layers[1][0].weight):
        assert weight.std().item() == pytest.approx(0.02, rel=0.05)
        assert weight.mean().item() == pytest.approx(0, abs=0.001)
