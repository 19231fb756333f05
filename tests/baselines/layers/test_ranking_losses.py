"""Ranking losses against formulas in float64, one target at a time."""

import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from gensr_dist.baselines.layers.ranking_losses import (
    binary_cross_entropy,
    bpr_max,
    catalogue_cross_entropy,
    generalised_bce,
    softmax_cross_entropy,
)
from tests.baselines.layers.checks import FAR, assert_close, masks, normal

P, N, ITEMS, T = 5, 4, 40, 0.75
Loss = Callable[[Tensor, Tensor, Tensor], Tensor]
Plain = Callable[[float, list[float]], float]


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def plain_bce(positive: float, negatives: list[float]) -> float:
    return -math.log(sigmoid(positive)) - sum(math.log(1 - sigmoid(n)) for n in negatives)


def plain_softmax(positive: float, negatives: list[float]) -> float:
    return -math.log(math.exp(positive) / sum(math.exp(x) for x in [positive, *negatives]))


def plain_generalised(positive: float, negatives: list[float]) -> float:
    if negatives:
        alpha = len(negatives) / (ITEMS - 1)
        beta = alpha * (T * (1 - 1 / alpha) + 1 / alpha)
    else:
        beta = 1 - T  # its limit
    return -math.log(sigmoid(positive) ** beta) - sum(math.log(1 - sigmoid(n)) for n in negatives)


def plain_bpr_max(positive: float, negatives: list[float]) -> float:
    if not negatives:
        return 0.0
    total = sum(math.exp(n) for n in negatives)
    shares = [math.exp(n) / total for n in negatives]
    won = sum(a * sigmoid(positive - n) for a, n in zip(shares, negatives, strict=True))
    return -math.log(won) + 0.7 * sum(a * n**2 for a, n in zip(shares, negatives, strict=True))


LOSSES: dict[str, tuple[Loss, Plain]] = {
    "bce": (binary_cross_entropy, plain_bce),
    "softmax": (softmax_cross_entropy, plain_softmax),
    "generalised": (partial(generalised_bce, items=ITEMS, calibration=T), plain_generalised),
    "bpr max": (partial(bpr_max, regularisation=0.7), plain_bpr_max),
}
each_pair = pytest.mark.parametrize(("loss", "plain"), LOSSES.values(), ids=LOSSES.keys())
each_loss = pytest.mark.parametrize("loss", [loss for loss, _ in LOSSES.values()], ids=LOSSES.keys())


@each_pair
def test_matches_the_formula(loss: Loss, plain: Plain) -> None:
    positive_P, negative_PN, real_PN = 2 * normal(1, P), 2 * normal(2, P, N), masks(3, P, N)
    real_PN[1] = torch.tensor([False, True, False, True])
    found_P = loss(positive_P, negative_PN.masked_fill(~real_PN, FAR), real_PN)
    expected = [plain(positive_P[p].item(), negative_PN[p][real_PN[p]].tolist()) for p in range(P)]
    assert_close(found_P, torch.tensor(expected, dtype=torch.float64))


@each_loss
def test_gradients_are_finite_and_reach_real_negatives_alone(loss: Loss) -> None:
    positive_P, negative_PN = normal(1, P).requires_grad_(), normal(2, P, N).requires_grad_()
    real_PN = masks(3, P, N)
    loss(positive_P, negative_PN, real_PN).sum().backward()
    assert ((negative_PN.grad != 0) == real_PN).all()
    assert torch.isfinite(negative_PN.grad).all()
    assert torch.isfinite(positive_P.grad).all()
    assert (positive_P.grad[1:][real_PN[1:].any(1)] < 0).all()


@each_loss
@pytest.mark.parametrize("padding", [torch.inf, -torch.inf])
def test_padding_may_be_infinite(loss: Loss, padding: float) -> None:
    positive_P, real_PN = normal(1, P), masks(3, P, N)
    negative_PN = normal(2, P, N)
    padded_PN = negative_PN.masked_fill(~real_PN, padding).requires_grad_()
    found_P = loss(positive_P, padded_PN, real_PN)
    assert torch.equal(found_P, loss(positive_P, negative_PN, real_PN))
    found_P.sum().backward()
    assert ((padded_PN.grad != 0) == real_PN).all()
    assert torch.isfinite(padded_PN.grad).all()


@each_loss
def test_no_target_depends_on_the_others_or_on_the_width(loss: Loss) -> None:
    positive_P, negative_PN, real_PN = normal(1, P), normal(2, P, N), masks(3, P, N)
    found_P = loss(positive_P, negative_PN, real_PN)
    wider_PN = torch.nn.functional.pad(negative_PN, (0, 2), value=FAR)
    assert_close(loss(positive_P, wider_PN, torch.nn.functional.pad(real_PN, (0, 2))), found_P)
    for p in range(P):
        assert_close(loss(positive_P[p : p + 1], negative_PN[p : p + 1], real_PN[p : p + 1])[0], found_P[p])


@each_loss
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_large_scores_stay_finite_in_single_precision(loss: Loss, dtype: torch.dtype) -> None:
    positive_P = torch.tensor([3e3, -3e3, 3e3, -3e3], dtype=dtype, requires_grad=True)
    negative_PN = torch.tensor([[-3e3, -2e3], [3e3, 2e3], [3e3, 3e3], [-3e3, 0]], dtype=dtype, requires_grad=True)
    loss_P = loss(positive_P, negative_PN, torch.ones(4, 2, dtype=torch.bool))
    assert loss_P.dtype == torch.float32
    assert loss_P[1] > 700, "far on the wrong side it still grows"
    loss_P.sum().backward()
    for tensor in (loss_P, positive_P.grad, negative_PN.grad):
        assert torch.isfinite(tensor).all()
    assert positive_P.grad[1] < -0.2, "and still pulls"


def test_calibration_of_the_generalised_loss() -> None:
    """0: nothing is corrected; 1: the positive weighs as its negatives' share of the catalogue."""
    positive_P, negative_PN, real_PN = normal(1, P), normal(2, P, N), torch.ones(P, N, dtype=torch.bool)
    given = positive_P, negative_PN, real_PN
    assert_close(generalised_bce(*given, items=ITEMS, calibration=0), binary_cross_entropy(*given))
    whole = generalised_bce(*given, items=ITEMS, calibration=1)
    negatives_P = torch.nn.functional.softplus(negative_PN).sum(1)
    assert_close(whole - negatives_P, N / (ITEMS - 1) * torch.nn.functional.softplus(-positive_P))
    all_drawn = generalised_bce(*given, items=N + 1, calibration=T)
    assert_close(all_drawn, binary_cross_entropy(*given))


@pytest.mark.parametrize("biased", [False, True])
def test_catalogue_cross_entropy_matches_the_formula_and_trains(biased: bool) -> None:
    state_PD, item_ID = normal(1, P, 3).requires_grad_(), normal(2, 6, 3).requires_grad_()
    bias_I = normal(3, 6).requires_grad_() if biased else None
    target_P = torch.tensor([0, 5, 2, 2, 1])
    found_P = catalogue_cross_entropy(state_PD, target_P, item_ID, bias_I)
    for p, target in enumerate(target_P.tolist()):
        logits = [state_PD[p] @ item_ID[i] + (bias_I[i] if biased else 0) for i in range(6)]
        assert_close(found_P[p], -(logits[target].exp() / sum(x.exp() for x in logits)).log())
    found_P.sum().backward()
    for leaf in (state_PD, item_ID, *([bias_I] if biased else [])):
        assert (leaf.grad != 0).all()


def test_catalogue_cross_entropy_bears_large_scores() -> None:
    state_PD = torch.tensor([[3e3], [-3e3]], requires_grad=True)
    loss_P = catalogue_cross_entropy(state_PD, torch.tensor([0, 0]), torch.tensor([[1.0], [-1.0]]), None)
    assert loss_P.tolist() == [0, 6e3]
    loss_P.sum().backward()
    assert state_PD.grad.tolist() == [[0], [-2]]
    half = catalogue_cross_entropy(
        state_PD.detach().bfloat16(), torch.tensor([0, 0]), torch.ones(2, 1).bfloat16(), None
    )
    assert half.dtype == torch.float32
