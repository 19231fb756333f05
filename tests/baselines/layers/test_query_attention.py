"""A query's attention over items, with and without a key of zeros, against loops in float64."""

import pytest
import torch
from torch import Tensor

from gensr_dist.baselines.layers.query_attention import QueryAttention
from tests.baselines.layers.checks import FAR, assert_close, assert_trains, learnt, masks, normal

G, L, D, HEADS = 4, 5, 6, 2
either = pytest.mark.parametrize("zero_key", [False, True])


def attended(layer: QueryAttention, query_D: Tensor, items: list[Tensor]) -> Tensor:
    """exp(s_l) / ([1 +] sum exp(s)), head by head."""
    parts = layer.attention
    width = D // HEADS
    out_D = torch.zeros(D, dtype=torch.float64)
    for start in range(0, D, width):
        part = slice(start, start + width)
        asks = (parts.query.weight @ query_D)[part]
        powers = [(asks @ (parts.key.weight @ item_D)[part] / width**0.5).exp() for item_D in items]
        total = sum(powers) + float(layer.zero_key)
        for power, item_D in zip(powers, items, strict=True):
            out_D[part] += power / total * (parts.value.weight @ item_D)[part]
    return parts.out.weight @ out_D


@either
@torch.no_grad()
def test_matches_the_loops(zero_key: bool) -> None:
    layer = learnt(QueryAttention(D, HEADS, zero_key))
    query_GD, item_GLD, mask_GL = normal(1, G, D), normal(2, G, L, D), masks(3, G, L)
    found_GD = layer(query_GD, item_GLD, mask_GL)
    for g in range(G):
        assert_close(found_GD[g], attended(layer, query_GD[g], list(item_GLD[g][mask_GL[g]])))
    assert (found_GD[0] == 0).all(), "an empty history"


@torch.no_grad()
def test_a_query_can_look_away_only_with_the_key_of_zeros() -> None:
    """A lone item that the query points away from."""
    for zero_key in (False, True):
        layer = learnt(QueryAttention(D, 1, zero_key))
        for linear in (layer.attention.query, layer.attention.key, layer.attention.value, layer.attention.out):
            linear.weight.copy_(torch.eye(D))
        item_11D = 10 * torch.ones(1, 1, D, dtype=torch.float64)
        found_1D = layer(-item_11D[0], item_11D, torch.ones(1, 1, dtype=torch.bool))
        assert_close(found_1D, torch.zeros_like(found_1D) if zero_key else item_11D[0])


@either
@torch.no_grad()
def test_padding_and_other_rows_do_not_matter(zero_key: bool) -> None:
    layer = learnt(QueryAttention(D, HEADS, zero_key))
    query_GD, item_GLD, mask_GL = normal(1, G, D), normal(2, G, L, D), masks(3, G, L)
    found_GD = layer(query_GD, item_GLD, mask_GL)
    wider_GL = torch.nn.functional.pad(mask_GL, (0, 2))
    wider_GLD = torch.full((G, L + 2, D), FAR, dtype=torch.float64)
    wider_GLD[wider_GL] = item_GLD[mask_GL]
    assert_close(layer(query_GD, wider_GLD, wider_GL), found_GD)
    assert_close(layer(query_GD[1:2], item_GLD[1:2], mask_GL[1:2])[0], found_GD[1])


@either
def test_a_batch_with_an_empty_row_trains(zero_key: bool) -> None:
    layer = learnt(QueryAttention(D, HEADS, zero_key))
    item_GLD, mask_GL = normal(2, G, L, D).requires_grad_(), masks(3, G, L)
    assert_trains(layer, layer(normal(1, G, D), item_GLD, mask_GL))
    assert torch.isfinite(item_GLD.grad).all()
    assert ((item_GLD.grad != 0).any(2) == mask_GL).all()
