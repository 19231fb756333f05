"""FMLP-Rec: what stands where, by hand; and its authors' weights on Amazon Beauty, whose figures are published.

The filter itself is compared with a transform written out in `layers/test_filter.py`.
"""

import gzip
import json
import os

import numpy as np
import pytest
import torch
from torch import Tensor

from gensr_dist.baselines.models.fmlp import FMLP, FMLPSettings, padded_on_the_left
from gensr_dist.evaluation.metrics import ndcg_gain
from tests.baselines.layers.checks import assert_close, assert_trains, learnt, norm
from tests.baselines.models.hand_made import D, hand_facts, hand_rows
from tests.integration.test_real_words import BEAUTY

PLACES = 4
HISTORIES = [[], [3], [5, 1, 8], [2, 7, 2, 11]]
CANDIDATES = [[4, 9], [4, 9], [1, 6], [12, 2]]
CHECKPOINT = os.environ.get("GENSR_FMLP_CHECKPOINT")  # output/FMLPRec-Beauty-4eval.pt of github.com/Woeee/FMLP-Rec
USERS_AT_A_TIME = 512


def fmlp() -> FMLP:
    return learnt(FMLP(FMLPSettings(width=D, history=PLACES), hand_facts()))


@torch.no_grad()
def test_histories_end_at_the_last_place_behind_vectors_of_padding() -> None:
    model = fmlp()
    found_GC = model.score(hand_rows(HISTORIES, CANDIDATES, PLACES))
    item_ID = model.items.table.weight
    for g, history in enumerate(HISTORIES):
        vectors = [model.padding_D] * (PLACES - len(history)) + [item_ID[slot - 1] for slot in history]
        x_PD = torch.stack([norm(model.norm, x_D + model.position_PD[p]) for p, x_D in enumerate(vectors)])
        for block in model.blocks:
            x_PD = block(x_PD[None])[0]
        for c, slot in enumerate(CANDIDATES[g]):
            assert_close(found_GC[g, c], x_PD[-1] @ item_ID[slot - 1])


def test_padding_moves_to_the_left() -> None:
    slot_GL = torch.tensor([[0, 0, 0], [3, 0, 0], [5, 1, 8]])
    expected = {
        2: [[0, 0], [0, 3], [1, 8]],
        3: [[0, 0, 0], [0, 0, 3], [5, 1, 8]],
        5: [[0, 0, 0, 0, 0], [0, 0, 0, 0, 3], [0, 0, 5, 1, 8]],
    }
    for places, rows in expected.items():
        assert padded_on_the_left(slot_GL, places).tolist() == rows


@pytest.mark.parametrize("length", [3, 4, 7])
@torch.no_grad()
def test_padding_behind_a_history_does_not_matter(length: int) -> None:
    model = fmlp()
    found_GC = model.score(hand_rows([[5, 1, 8]], [[1, 6]], length))
    assert_close(found_GC, model.score(hand_rows([[5, 1, 8]], [[1, 6]], PLACES)))


@torch.no_grad()
def test_the_newest_are_read() -> None:
    model = fmlp()
    found_GC = model.score(hand_rows([[9, 10, 2, 7, 2, 11]], [[12, 2]], 6))
    assert_close(found_GC, model.score(hand_rows([[2, 7, 2, 11]], [[12, 2]], PLACES)))


def test_every_weight_trains() -> None:
    model = fmlp()
    assert_trains(model, model(hand_rows(HISTORIES, CANDIDATES, PLACES)).total[None])


def published(checkpoint: str) -> FMLP:
    """The authors' weights; row 0 of their items is padding."""
    theirs: dict[str, Tensor] = torch.load(checkpoint, weights_only=True, map_location="cpu")
    item_ID = theirs["item_embeddings.weight"]
    ours = {
        "items.table.weight": item_ID[1:],
        "padding_D": item_ID[0],
        "position_PD": theirs["position_embeddings.weight"],
    }
    names = {
        "filterlayer.LayerNorm": "filter_norm",
        "intermediate.dense_1": "feed_forward.0",
        "intermediate.dense_2": "feed_forward.3",
        "intermediate.LayerNorm": "feed_forward_norm",
    }
    for kind in ("weight", "bias"):
        ours[f"norm.{kind}"] = theirs[f"LayerNorm.{kind}"]
        for layer in range(2):
            for name, own in names.items():
                ours[f"blocks.{layer}.{own}.{kind}"] = theirs[f"item_encoder.layer.{layer}.{name}.{kind}"]
    for layer in range(2):
        ours[f"blocks.{layer}.filter_FD2"] = theirs[f"item_encoder.layer.{layer}.filterlayer.complex_weight"][0]
    model = FMLP(FMLPSettings(), hand_facts(len(item_ID) - 1))
    model.load_state_dict(ours)
    return model.eval()


def beauty_sequences() -> list[list[int]]:
    """Slots of all users' items, numbered as they come first."""
    number: dict[str, int] = {}
    sequences: dict[str, list[int]] = {}
    with gzip.open(BEAUTY / "reviews_Beauty_5.json.gz", "rt", encoding="utf-8") as file:
        for line in file:
            review = json.loads(line)
            slot = number.setdefault(review["asin"], len(number) + 1)
            sequences.setdefault(review["reviewerID"], []).append(slot)
    return list(sequences.values())


def negatives_of(sequences: list[list[int]], count: int) -> list[list[int]]:
    """Those of S3-Rec's evaluation: drawn user by user with seed 12345, all of a user's items left out."""
    random = np.random.RandomState(12345)  # the published draws
    slots = np.unique(np.concatenate(sequences))  # numbered as they come first, which is the published order
    found = []
    for sequence in sequences:
        drawn: list[int] = []
        while len(drawn) < count:
            drawn += [slot for slot in random.choice(slots, count, replace=False).tolist() if slot not in sequence]
        found.append(drawn[:count])
    return found


@pytest.mark.slow
@pytest.mark.skipif(CHECKPOINT is None, reason="GENSR_FMLP_CHECKPOINT names no file of the authors' weights")
@pytest.mark.skipif(not BEAUTY.exists(), reason="Amazon Beauty is not at hand")
@torch.no_grad()
def test_the_authors_weights_have_their_figures() -> None:
    """Whole test split, 99 negatives: HR@10 .4935 and NDCG@10 .3317 in the authors' log, with their own negatives."""
    assert CHECKPOINT is not None
    model, sequences = published(CHECKPOINT), beauty_sequences()
    items, places = len(model.items.table.weight), len(model.position_PD)
    assert (len(sequences), items, places) == (22_363, 12_101, 50)
    candidates = [
        [sequence[-1], *others] for sequence, others in zip(sequences, negatives_of(sequences, 99), strict=True)
    ]
    ranks = []
    for start in range(0, len(sequences), USERS_AT_A_TIME):
        part = slice(start, start + USERS_AT_A_TIME)
        histories = [sequence[:-1][-places:] for sequence in sequences[part]]
        score_GC = model.score(hand_rows(histories, candidates[part], places, items))
        ranks.append(1 + (score_GC[:, 1:] >= score_GC[:, :1]).sum(1))
    rank_R = torch.cat(ranks).numpy()
    assert (rank_R <= 10).mean() == pytest.approx(0.4932, abs=0.003)
    assert ndcg_gain(rank_R, 10).mean() == pytest.approx(0.3320, abs=0.003)
