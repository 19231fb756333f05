"""SASRec against loops in float64."""

import pytest
import torch

from gensr_dist.baselines.models.sasrec import SASRec, SASRecSettings
from gensr_dist.baselines.sequence_losses import SequenceLoss
from tests.baselines.layers.checks import assert_close, assert_trains, learnt, norm, normal
from tests.baselines.layers.test_encoder import block_of
from tests.baselines.models.hand_made import D, hand_facts, hand_rows, hand_sequences

L = 4
HISTORIES = [[3], [5, 1, 8], [2, 7, 2, 11]]
CANDIDATES = [[4, 9], [1, 6], [12, 2]]


def sasrec(**changes: object) -> SASRec:
    torch.manual_seed(0)
    return learnt(SASRec(SASRecSettings(**{"width": D, "history": L, "heads": 2, **changes}), hand_facts()))


@torch.no_grad()
def test_matches_the_loops() -> None:
    model = sasrec()
    found_GC = model.score(hand_rows(HISTORIES, CANDIDATES, L))
    item_ID = model.items.table.weight
    for g, history in enumerate(HISTORIES):
        x_LD = torch.stack(
            [norm(model.norm, item_ID[slot - 1] + model.position_LD[place]) for place, slot in enumerate(history)]
        )
        for block in model.encoder.blocks:
            x_LD = block_of(block, x_LD, torch.ones(len(x_LD), len(x_LD)).tril().bool(), "gelu")
        for c, slot in enumerate(CANDIDATES[g]):
            assert_close(found_GC[g, c], x_LD[-1] @ item_ID[slot - 1])


@torch.no_grad()
def test_without_a_history_all_scores_are_0() -> None:
    assert not sasrec().score(hand_rows([[], [3]], [[1, 2], [1, 2]], L))[0].any()


@torch.no_grad()
def test_a_position_knows_what_it_knows_as_a_row() -> None:
    """Training in sequences and scoring in rows are one model."""
    model = sasrec()
    batch = hand_sequences([[2, 7, 4, 11, 5]], L)
    state_LD = model.states(batch, model.items(batch))[0]
    for place in range(L):
        rows = hand_rows([[2, 7, 4, 11][: place + 1]], [[9, 3]], L)
        assert_close(model.score(rows)[0], model.items.table.weight[[8, 2]] @ state_LD[place])


def test_the_feed_forward_network_drops_within_in_the_first_form_alone() -> None:
    for form in ("post", "pre", "query"):
        block = sasrec(norm=form, dropout=0.5).encoder.blocks[0].train()
        assert block.attention.dropout == block.residual_dropout.rate == 0.5
        x_LD = normal(1, L, D)
        assert torch.equal(block.feed_forward(x_LD), block.feed_forward(x_LD)) == (form != "query")


@pytest.mark.parametrize("name", ["bce", "ce", "sampled", "gbce", "bpr_max"])
def test_each_loss_trains_every_weight(name: SequenceLoss) -> None:
    model = sasrec(loss=name)
    assert model.shared_negatives == (0 if name in ("bce", "ce") else 512)
    losses = model(hand_sequences([[2, 7, 4, 11, 5], [1, 3]], L, shared=[6, 8, 10]))
    assert_trains(model, losses.total[None], "key.bias")  # the same for all keys: softmax does not see it


def test_gbce_without_calibration_is_bce() -> None:
    batch = hand_sequences([[2, 7, 4]], L, shared=[9, 12])
    batch.negative_SLN[0, :2] = batch.shared_B
    assert_close(sasrec(loss="gbce", calibration=0.0)(batch).total, sasrec()(batch).total)
