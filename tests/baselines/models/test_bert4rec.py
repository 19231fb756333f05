"""BERT4Rec against loops in float64, and what it masks."""

import pytest
import torch
from torch import Tensor

from gensr_dist.baselines.models.bert4rec import BERT4Rec, BERT4RecSettings
from tests.baselines.layers.checks import assert_close, assert_trains, dense, learnt, norm, normal
from tests.baselines.layers.test_encoder import block_of
from tests.baselines.models.hand_made import ITEMS, D, gelu, hand_facts, hand_rows, hand_sequences, padded

L = 4
HISTORIES = [[], [3], [5, 1, 8], [2, 7, 2, 11]]
CANDIDATES = [[4, 9], [4, 9], [1, 6], [12, 2]]
SEQUENCES = [[2, 7, 4, 11, 5], [1, 3, 6]]


def bert4rec(**changes: object) -> BERT4Rec:
    return learnt(BERT4Rec(BERT4RecSettings(**{"width": D, "history": L, "heads": 2, **changes}), hand_facts()))


def guess(model: BERT4Rec, places: list[Tensor], place: int) -> Tensor:
    """What the loops have at a place; [MASK] is one of the vectors."""
    x_XD = torch.stack([norm(model.norm, x_D + model.position_XD[x]) for x, x_D in enumerate(places)])
    for block in model.encoder.blocks:
        x_XD = block_of(block, x_XD, torch.ones(len(x_XD), len(x_XD)).bool(), "gelu")
    return norm(model.head[2], gelu(dense(model.head[0], x_XD[place])))


@torch.no_grad()
def test_scores_match_the_loops() -> None:
    model = bert4rec()
    found_GC = model.score(hand_rows(HISTORIES, CANDIDATES, L))
    item_ID = model.items.table.weight
    for g, history in enumerate(HISTORIES):
        guess_D = guess(model, [*(item_ID[slot - 1] for slot in history), model.mask_D], len(history))
        for c, slot in enumerate(CANDIDATES[g]):
            assert_close(found_GC[g, c], guess_D @ item_ID[slot - 1] + model.bias_I[slot - 1])


@torch.no_grad()
def test_a_masked_place_does_not_see_its_item_and_sees_all_others() -> None:
    model = bert4rec()
    item_SX = padded([[2, 7, 4, 11]], L + 1)
    item_UD = model.items(hand_sequences([[2]], L))
    masked_SX = torch.tensor([[False, True, False, False, False]])
    before_D = model.guesses(item_UD, item_SX, masked_SX)[0, 1]
    for place in range(4):
        other_SX = item_SX.clone()
        other_SX[0, place] = 9
        after_D = model.guesses(item_UD, other_SX, masked_SX)[0, 1]
        assert torch.equal(after_D, before_D) == (place == 1)


def test_the_feed_forward_network_has_no_dropout_within() -> None:
    block = bert4rec().encoder.blocks[0].train()
    assert (block.attention.dropout, block.residual_dropout.rate) == (0.2, 0.5)
    x_LD = normal(1, L, D)
    assert torch.equal(block.feed_forward(x_LD), block.feed_forward(x_LD))


@pytest.mark.parametrize("searched", [[], [[0, 2], [1]]])
@torch.no_grad()
def test_the_loss_counts_masked_recommendations_alone(
    searched: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = bert4rec(rho=0.5)
    masked = [[0, 2, 4], [1]]
    masked_SX = torch.zeros(2, L + 1, dtype=torch.bool)
    for sequence, places in enumerate(masked):
        masked_SX[sequence, places] = True
    monkeypatch.setattr(model, "_masked", lambda item_SX: masked_SX)
    batch = hand_sequences(SEQUENCES, L, searched=searched)
    item_ID = model.items.table.weight
    expected = torch.zeros((), dtype=torch.float64)
    for sequence, slots in enumerate(SEQUENCES):
        hidden = masked[sequence]
        places = [model.mask_D if x in hidden else item_ID[slot - 1] for x, slot in enumerate(slots)]
        for place in hidden:
            if searched and place in searched[sequence]:
                continue
            logit_I = torch.stack([guess(model, places, place) @ item_ID[i] + model.bias_I[i] for i in range(ITEMS)])
            expected += logit_I.exp().sum().log() - logit_I[slots[place] - 1]
    assert_close(model(batch).total, expected / (0.5 * batch.step_targets))


def test_it_masks_what_it_says() -> None:
    item_SX = padded([[1, 2, 3, 4, 5], [6, 7]], L + 1).repeat(4_000, 1)
    torch.manual_seed(0)
    masked_SX = bert4rec(rho=0.3, last_share=0.0)._masked(item_SX)
    assert not masked_SX[item_SX == 0].any()
    assert masked_SX[item_SX > 0].float().mean().item() == pytest.approx(0.3, abs=0.01)
    last_SX = bert4rec(rho=0.3, last_share=1.0)._masked(item_SX)
    assert (last_SX.sum(1) == 1).all()
    assert (item_SX[last_SX].view(-1, 2) == torch.tensor([5, 7])).all()
    both_SX = bert4rec(rho=0.0, last_share=0.25)._masked(item_SX)
    assert both_SX.any(1).float().mean().item() == pytest.approx(0.25, abs=0.02)


def test_masks_follow_the_global_random_state() -> None:
    batch, model = hand_sequences(SEQUENCES, L), bert4rec(rho=0.5)
    losses = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        losses.append(float(model(batch).total.detach()))
    assert losses[0] == losses[1] != losses[2]


@torch.no_grad()
def test_scoring_is_a_sequence_whose_last_place_is_masked() -> None:
    model = bert4rec(last_share=1.0)
    batch = hand_sequences([[2, 7, 4, 11, 5]], L)
    score_1I = model.score(hand_rows([[2, 7, 4, 11]], [list(range(1, ITEMS + 1))], L))
    loss = model(batch).total * model.settings.rho * batch.step_targets
    assert_close(loss, score_1I.logsumexp(1)[0] - score_1I[0, 4])


def test_a_batch_without_targets_has_no_loss() -> None:
    """As a rank has that got no sequence of a step."""
    model = bert4rec(rho=1.0)
    batch = hand_sequences(SEQUENCES, L)
    batch.is_target_SL[:] = False
    loss = model(batch).total
    loss.backward()
    assert float(loss.detach()) == 0


@pytest.mark.parametrize("name", ["ce", "sampled"])
def test_each_loss_trains_every_weight(name: str) -> None:
    torch.manual_seed(3)
    model = bert4rec(loss=name)
    assert model.shared_negatives == (512 if name == "sampled" else 0)
    losses = model(hand_sequences(SEQUENCES, L, shared=[8, 9, 10]))
    assert_trains(model, losses.total[None], "key.bias")  # the same for all keys: softmax does not see it
