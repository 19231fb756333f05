"""Negative sampling of words against loops in float64, and the sampler's draws."""

import math

import pytest
import torch

from gensr_dist.baselines.layers.words import UnigramSampler, item_word_loss
from tests.baselines.layers.checks import assert_close, normal

V, D = 7, 4
WORD_PW = torch.tensor([[3, 5, 3], [2, 0, 0], [0, 0, 0], [0, 6, 1]])
NEGATIVE_PN = torch.tensor([[4, 2, 4], [4, 2, 4], [1, 2, 3], [6, 4, 2]])


def test_matches_the_loops() -> None:
    vector_PD, table_VD, bias_V = normal(1, 4, D), normal(2, V, D), normal(3, V)

    def chance(logit: torch.Tensor) -> float:
        return 1 / (1 + math.exp(-logit))

    expected = []
    for vector_D, words, negatives in zip(vector_PD, WORD_PW.tolist(), NEGATIVE_PN.tolist(), strict=True):
        loss = 0.0
        for word in filter(None, words):
            loss -= math.log(chance(vector_D @ table_VD[word] + bias_V[word]))
            for negative in negatives:
                loss -= math.log(chance(-(vector_D @ table_VD[negative] + bias_V[negative])))
        expected.append(loss / max(1, len(list(filter(None, words)))))
    found_P = item_word_loss(vector_PD, WORD_PW, table_VD, bias_V, NEGATIVE_PN)
    assert_close(found_P, torch.tensor(expected, dtype=torch.float64))
    wider_PW = torch.nn.functional.pad(WORD_PW, (1, 2))
    assert_close(item_word_loss(vector_PD, wider_PW, table_VD, bias_V, NEGATIVE_PN), found_P)
    assert_close(item_word_loss(vector_PD[3:], WORD_PW[3:], table_VD, bias_V, NEGATIVE_PN[3:]), found_P[3:])


def test_texts_without_words_have_no_loss_and_no_gradient() -> None:
    vector_PD, table_VD = normal(1, 4, D).requires_grad_(), normal(2, V, D).requires_grad_()
    bias_V = normal(3, V).requires_grad_()
    loss_P = item_word_loss(vector_PD, WORD_PW, table_VD, bias_V, NEGATIVE_PN)
    assert loss_P[2] == 0
    loss_P.sum().backward()
    assert (vector_PD.grad != 0).any(1).tolist() == [True, True, False, True]
    used = [False, True, True, True, True, True, True]
    assert (table_VD.grad != 0).any(1).tolist() == used
    assert (bias_V.grad != 0).tolist() == used
    assert torch.isfinite(table_VD.grad).all()


def test_bears_large_logits_and_half_precision() -> None:
    vector_PD, table_VD = torch.full((4, D), 100.0, dtype=torch.bfloat16), torch.ones(V, D, dtype=torch.bfloat16)
    loss_P = item_word_loss(vector_PD, WORD_PW, table_VD, torch.zeros(V), NEGATIVE_PN)
    assert loss_P.dtype == torch.float32
    assert loss_P.tolist() == [3 * 400, 3 * 400, 0, 3 * 400]


def test_draws_follow_counts_to_the_power_and_the_generator() -> None:
    count_V = torch.tensor([10_000, 16, 0, 1, 81])
    sampler = UnigramSampler(count_V)
    drawn_N = sampler.draw(50_000, torch.Generator().manual_seed(5))
    assert torch.equal(drawn_N, sampler.draw(50_000, torch.Generator().manual_seed(5)))
    assert not torch.equal(drawn_N, sampler.draw(50_000, torch.Generator().manual_seed(6)))
    assert sampler.draw(0, torch.Generator()).shape == (0,)
    share_V = drawn_N.bincount(minlength=5) / 50_000
    torch.testing.assert_close(share_V, torch.tensor([0, 8, 0, 1, 27]) / 36, rtol=0, atol=0.01)
    assert share_V[0] == share_V[2] == 0, "padding and a word that never occurs"
    assert count_V[0] == 10_000, "the counts stay the caller's"


def test_something_must_occur() -> None:
    with pytest.raises(ValueError, match="no word occurs"):
        UnigramSampler(torch.tensor([5, 0, 0]))
