"""Vectors of texts against loops in float64."""

import pytest
import torch
from torch import Tensor, nn

from gensr_dist.baselines.layers.queries import QueryProjection, TextMean
from tests.baselines.layers.checks import assert_close, assert_trains, dense, learnt

V, E, D = 8, 5, 4
WORD_XQ = torch.tensor([[3, 5, 3], [2, 0, 0], [0, 0, 0], [0, 6, 1], [7, 4, 2]])
EMPTY = 2


def words() -> nn.Embedding:
    return learnt(nn.Embedding(V, E), seed=1)  # row 0 is not zero: it must not matter


def mean(table: nn.Embedding, ids: list[int]) -> Tensor:
    kept = [table.weight[word] for word in ids if word]
    return sum(kept) / len(kept) if kept else torch.zeros(E, dtype=torch.float64)


@torch.no_grad()
def test_text_mean_matches_the_loops_for_any_leading_dimensions() -> None:
    layer = TextMean(words())
    found_XE = layer(WORD_XQ)
    for ids, found_E in zip(WORD_XQ.tolist(), found_XE, strict=True):
        assert_close(found_E, mean(layer.words, ids))
    assert_close(layer(WORD_XQ[:4].view(2, 2, 3)), found_XE[:4].view(2, 2, E))
    assert_close(layer(WORD_XQ[3]), found_XE[3])
    assert layer(WORD_XQ[:0]).shape == (0, E)
    assert layer(WORD_XQ.view(5, 1, 3)[:, :0]).shape == (5, 0, E)


@torch.no_grad()
def test_projection_matches_the_loops() -> None:
    layer = learnt(QueryProjection(words(), D))
    found_XD = layer(WORD_XQ)
    for number, (ids, found_D) in enumerate(zip(WORD_XQ.tolist(), found_XD, strict=True)):
        expected_D = dense(layer.linear, mean(layer.mean.words, ids)).tanh()
        assert_close(found_D, layer.empty_D if number == EMPTY else expected_D)
    assert_close(layer(WORD_XQ[:4].view(2, 2, 3)), found_XD[:4].view(2, 2, D))


@torch.no_grad()
def test_queries_differ_before_anything_is_learnt() -> None:
    torch.manual_seed(0)
    table = nn.Embedding(50, 64)
    nn.init.normal_(table.weight, std=0.02)
    unit_XD = nn.functional.normalize(QueryProjection(table, 64)(torch.arange(1, 50)[:, None]))
    likeness_XX = unit_XD @ unit_XD.T
    assert likeness_XX[~torch.eye(49, dtype=torch.bool)].mean().abs() < 0.1


@torch.no_grad()
def test_the_mean_of_the_words_is_dropped_in_training() -> None:
    layer = learnt(QueryProjection(words(), D, dropout=0.5))
    full_XD = layer(WORD_XQ)
    assert torch.equal(layer(WORD_XQ), full_XD)
    assert not torch.allclose(layer.train()(WORD_XQ), full_XD)


@torch.no_grad()
def test_padding_order_and_other_rows_do_not_matter() -> None:
    table = words()
    wider_XQ = nn.functional.pad(WORD_XQ, (1, 2))
    for layer in (TextMean(table), learnt(QueryProjection(table, D))):
        assert_close(layer(wider_XQ), layer(WORD_XQ))
        assert_close(layer(WORD_XQ.flip(1)), layer(WORD_XQ))
        assert_close(layer(WORD_XQ[3:4])[0], layer(WORD_XQ)[3])


@pytest.mark.parametrize("sparse", [False, True])
def test_gradients_reach_the_words_but_not_padding(sparse: bool) -> None:
    table = learnt(nn.Embedding(V, E, sparse=sparse))
    TextMean(table)(WORD_XQ).sum().backward()
    assert table.weight.grad.is_sparse == sparse
    gradient_VE = table.weight.grad.to_dense()
    assert (gradient_VE != 0).any(1).tolist() == [False] + [True] * (V - 1)
    assert_close(gradient_VE[3], torch.full((E,), 2 / 3, dtype=torch.float64))


def test_projection_trains_its_vector_of_empty_queries_too() -> None:
    table = words()
    layer = learnt(QueryProjection(table, D))
    assert layer.mean.words is table
    assert_trains(layer, layer(WORD_XQ))
    layer.zero_grad()
    layer(WORD_XQ[EMPTY : EMPTY + 1]).sum().backward()
    assert_close(layer.empty_D.grad, torch.ones(D, dtype=torch.float64))
    for other in (layer.linear.weight, layer.linear.bias, table.weight):
        assert (other.grad == 0).all()
