"""GRU4Rec against loops in float64."""

import pytest
import torch
from torch import Tensor

from gensr_dist.baselines.models.gru4rec import GRU4Rec, GRU4RecSettings
from gensr_dist.baselines.sequence_losses import SequenceLoss
from tests.baselines.layers.checks import assert_close, assert_trains, dense, learnt
from tests.baselines.models.hand_made import D, hand_facts, hand_rows, hand_sequences, sigmoid

L, HIDDEN = 4, 7
HISTORIES = [[3], [5, 1, 8], [2, 7, 2, 11]]
CANDIDATES = [[4, 9], [1, 6], [12, 2]]


def gru4rec(**changes: object) -> GRU4Rec:
    return learnt(GRU4Rec(GRU4RecSettings(**{"width": D, "history": L, "hidden": HIDDEN, **changes}), hand_facts()))


def step(model: GRU4Rec, state_H: Tensor, item_D: Tensor) -> Tensor:
    """h = (1 - z) n + z h, n = tanh(W_n e + r (U_n h)), r and z sigmoids of their own W e + U h."""
    reset_H, update_H, new_H = (model.gru.weight_ih_l0 @ item_D).split(HIDDEN)
    of_reset_H, of_update_H, of_new_H = (model.gru.weight_hh_l0 @ state_H).split(HIDDEN)
    r_H, z_H = sigmoid(reset_H + of_reset_H), sigmoid(update_H + of_update_H)
    return (1 - z_H) * (new_H + r_H * of_new_H).tanh() + z_H * state_H


@torch.no_grad()
def test_matches_the_loops_at_the_newest_place() -> None:
    model = gru4rec()
    found_GC = model.score(hand_rows(HISTORIES, CANDIDATES, L))
    item_ID = model.items.table.weight
    for g, history in enumerate(HISTORIES):
        state_H = torch.zeros(HIDDEN, dtype=torch.float64)
        for slot in history:
            state_H = step(model, state_H, item_ID[slot - 1])
        for c, slot in enumerate(CANDIDATES[g]):
            expected = dense(model.projection, state_H) @ item_ID[slot - 1] + model.bias_I[slot - 1]
            assert_close(found_GC[g, c], expected)


@torch.no_grad()
def test_without_a_history_a_score_is_the_bias() -> None:
    model = gru4rec()
    assert_close(model.score(hand_rows([[]], [[4, 9]], L))[0], model.bias_I[[3, 8]])


@pytest.mark.parametrize("name", ["bce", "ce", "sampled", "gbce", "bpr_max"])
def test_each_loss_trains_every_weight(name: SequenceLoss) -> None:
    model = gru4rec(loss=name, layers=2)
    losses = model(hand_sequences([[2, 7, 4, 11, 5], [1, 3]], L, shared=[6, 8, 10]))
    assert_trains(model, losses.total[None])
    assert model.bias_I.grad[6].abs() > 1e-9  # of a target


def test_the_square_of_scores_weighs_as_set() -> None:
    batch = hand_sequences([[2, 7, 4, 11, 5]], L, shared=[6, 8, 10])
    none, one, two = (gru4rec(loss="bpr_max", regularisation=weight)(batch).total for weight in (0.0, 1.0, 2.0))
    assert one > none
    assert_close(two - one, one - none)
