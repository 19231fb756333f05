"""Losses over sequences against formulas in float64, one target at a time."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from gensr_dist.baselines.sequence_losses import LossSettings, SequenceLoss, sequence_loss
from gensr_dist.data.batches.sequences import SequenceBatch
from tests.baselines.layers.checks import FAR, assert_close, normal
from tests.baselines.models.hand_made import ITEMS, D, hand_sequences

L = 4
SHARED = [2, 3, 5, 11]
NAMES: list[SequenceLoss] = ["bce", "ce", "sampled", "gbce", "bpr_max"]
every_loss = pytest.mark.parametrize("name", NAMES)


def given() -> tuple[SequenceBatch, Tensor, Tensor, Tensor]:
    """Two sequences, one of them short and with a search; states, item vectors and biases."""
    batch = hand_sequences([[4, 2, 9, 3, 12], [7, 5, 8]], L, searched=[[], [1]], shared=SHARED)
    item_UD = normal(1, ITEMS + 1, D)
    item_UD[0] = FAR
    return batch, normal(0, 2, L, D), item_UD, normal(2, ITEMS)


def loss_of(
    name: SequenceLoss, batch: SequenceBatch, state_SLD: Tensor, item_UD: Tensor, bias_I: Tensor | None
) -> Tensor:
    settings = LossSettings(name, ITEMS, calibration=0.6, regularisation=0.7)
    return sequence_loss(settings, state_SLD, item_UD, batch, item_UD[1:], bias_I)


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def of_target(name: SequenceLoss, positive: float, negatives: list[float]) -> float:
    if name in ("ce", "sampled"):
        return math.log(math.exp(positive) + sum(map(math.exp, negatives))) - positive
    if name == "bpr_max":
        total = sum(map(math.exp, negatives))
        won = sum(math.exp(n) / total * sigmoid(positive - n) for n in negatives)
        return -math.log(won) + 0.7 * sum(math.exp(n) / total * n**2 for n in negatives)
    alpha = len(negatives) / (ITEMS - 1)
    beta = alpha * (0.6 * (1 - 1 / alpha) + 1 / alpha) if name == "gbce" else 1.0
    return -beta * math.log(sigmoid(positive)) - sum(math.log(1 - sigmoid(n)) for n in negatives)


@every_loss
def test_matches_the_formula_of_each_target(name: SequenceLoss) -> None:
    batch, state_SLD, item_UD, bias_I = given()
    expected = 0.0
    targets = [(0, 0, 2), (0, 1, 9), (0, 2, 3), (0, 3, 12), (1, 1, 8)]  # sequence, position, slot
    for sequence, position, target in targets:
        compared = {
            "bce": [1 + target % ITEMS, 1 + (target + 3) % ITEMS],
            "ce": [slot for slot in range(1, ITEMS + 1) if slot != target],
        }.get(name, [slot for slot in SHARED if slot != target])
        score = {slot: float(state_SLD[sequence, position] @ item_UD[slot] + bias_I[slot - 1]) for slot in range(1, 13)}
        expected += of_target(name, score[target], [score[slot] for slot in compared])
    found = loss_of(name, batch, state_SLD, item_UD, bias_I)
    assert_close(found, torch.tensor(expected, dtype=torch.float64))


@every_loss
def test_a_bias_is_one_more_dimension(name: SequenceLoss) -> None:
    batch, state_SLD, item_UD, bias_I = given()
    wide_UD = torch.cat((item_UD, torch.cat((bias_I[:1], bias_I))[:, None]), dim=1)
    wide_SLD = torch.cat((state_SLD, torch.ones(2, L, 1, dtype=torch.float64)), dim=2)
    found = loss_of(name, batch, state_SLD, item_UD, bias_I)
    assert_close(found, loss_of(name, batch, wide_SLD, wide_UD, None))


@every_loss
def test_nothing_but_targets_counts(name: SequenceLoss) -> None:
    batch, state_SLD, item_UD, bias_I = given()
    other_SLD = torch.where(batch.is_target_SL[:, :, None], state_SLD, FAR)
    assert_close(loss_of(name, batch, other_SLD, item_UD, bias_I), loss_of(name, batch, state_SLD, item_UD, bias_I))


@every_loss
def test_without_targets_it_is_0_and_differentiable(name: SequenceLoss) -> None:
    batch, state_SLD, item_UD, bias_I = given()
    nothing = replace(batch, is_target_SL=torch.zeros_like(batch.is_target_SL))
    state_SLD.requires_grad_()
    loss = loss_of(name, nothing, state_SLD, item_UD, bias_I)
    loss.backward()
    assert float(loss.detach()) == 0
    assert not state_SLD.grad.any()


def test_gbce_without_calibration_is_bce_on_the_same_negatives() -> None:
    batch, state_SLD, item_UD, bias_I = given()
    shared_SLB = batch.shared_B.expand(2, L, -1)
    same = replace(batch, negative_SLN=shared_SLB.masked_fill(shared_SLB == batch.next_SL[:, :, None], 0))
    plain = LossSettings("gbce", ITEMS, calibration=0.0)
    found = sequence_loss(plain, state_SLD, item_UD, same, None, bias_I)
    assert_close(found, loss_of("bce", same, state_SLD, item_UD, bias_I))
