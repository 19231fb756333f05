"""HSTU against loops in float64."""

import pytest
import torch
from torch import Tensor

from gensr_dist.baselines.layers.hstu_block import HSTUBlock
from gensr_dist.baselines.models.hstu import HSTU, HSTUSettings
from gensr_dist.baselines.sequence_losses import SequenceLoss
from tests.baselines.layers.checks import assert_close, assert_trains, dense, learnt
from tests.baselines.models.hand_made import D, hand_facts, hand_rows, hand_sequences, sigmoid

L = 4
HISTORIES = [[3], [5, 1, 8], [2, 7, 2, 11]]
CANDIDATES = [[4, 9], [1, 6], [12, 2]]


def hstu(**changes: object) -> HSTU:
    return learnt(HSTU(HSTUSettings(**{"width": D, "history": L, "heads": 2, **changes}), hand_facts()))


def normed(x_D: Tensor) -> Tensor:
    centred_D = x_D - x_D.mean()
    return centred_D / (centred_D.square().mean() + 1e-6).sqrt()


def unit(block: HSTUBlock, x_LD: Tensor) -> Tensor:
    parts = [block.inner.weight @ normed(x_D) for x_D in x_LD]
    gate, value, query, key = zip(*[(part * sigmoid(part)).chunk(4) for part in parts], strict=True)
    out = []
    for place, x_D in enumerate(x_LD):
        found = []
        for head in torch.arange(D).chunk(block.heads):
            total = torch.zeros(len(head), dtype=torch.float64)
            for other in range(place + 1):
                likeness = query[place][head] @ key[other][head] + block.distance_N[place - other]
                total += likeness * sigmoid(likeness) / L * value[other][head]
            found.append(total)
        out.append(x_D + dense(block.out, normed(torch.cat(found)) * gate[place]))
    return torch.stack(out)


@pytest.mark.parametrize("temperature", [0.0, 0.1])
@torch.no_grad()
def test_matches_the_loops(temperature: float) -> None:
    model = hstu(temperature=temperature)
    found_GC = model.score(hand_rows(HISTORIES, CANDIDATES, L))
    item_ID = model.items.table.weight
    for g, history in enumerate(HISTORIES):
        x_LD = torch.stack(
            [D**0.5 * item_ID[slot - 1] + model.position_ND[place] for place, slot in enumerate(history)]
        )
        for block in model.blocks:
            x_LD = unit(block, x_LD)
        for c, slot in enumerate(CANDIDATES[g]):
            product = x_LD[-1] @ item_ID[slot - 1]
            lengths = x_LD[-1].norm() * item_ID[slot - 1].norm()
            assert_close(found_GC[g, c], product / lengths / temperature if temperature else product)


@torch.no_grad()
def test_without_a_history_all_scores_are_0() -> None:
    assert not hstu().score(hand_rows([[], [3]], [[1, 2], [1, 2]], L))[0].any()


@pytest.mark.parametrize("temperature", [0.0, 0.1])
@pytest.mark.parametrize("name", ["bce", "ce", "sampled", "gbce", "bpr_max"])
def test_each_loss_trains_every_weight_on_what_is_scored(name: SequenceLoss, temperature: float) -> None:
    model = hstu(loss=name, temperature=temperature)
    batch = hand_sequences([[2, 7, 4, 11, 5], [1, 3]], L, shared=[6, 8, 10])
    losses = model(batch)
    assert_trains(model, losses.total[None])
    if name == "ce":
        rows = [[2], [2, 7], [2, 7, 4], [2, 7, 4, 11], [1]]
        score_GI = model.score(hand_rows(rows, [list(range(1, 13))] * 5, L))
        of_target_G = score_GI.log_softmax(1)[range(5), [6, 3, 10, 4, 2]]
        assert_close(losses.total, -of_target_G.mean())
