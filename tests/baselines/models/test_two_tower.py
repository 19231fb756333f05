"""The two towers' softmax over the batch, by loops in float64."""

import math
from typing import Any

import numpy as np
import pytest
import torch

from tests.baselines.layers.checks import assert_close, learnt
from tests.baselines.models.planted import (
    ITEMS,
    REC,
    SEARCH,
    build,
    random_rows,
    share_found,
    told_by_history,
    told_by_query,
)


@pytest.mark.parametrize("negatives", [0, 3])
@pytest.mark.parametrize("correction", [True, False])
@torch.no_grad()
def test_loss_is_a_softmax_over_all_candidates_of_the_batch(negatives: int, correction: bool) -> None:
    popularity_I = np.arange(1, ITEMS + 1)
    changes = {"negatives": negatives, "correction": correction, "temperature": 0.2}
    model: Any = learnt(build("two_tower", changes, popularity_I=popularity_I))
    batch = random_rows(1, groups=9)
    batch.candidate_GC[4, 2] = 0  # padding
    batch.candidate_GC[5, 0] = batch.candidate_GC[3, 0]  # two rows have one positive
    user_GD, item_UD = model._towers(batch)

    def logit(group: int, slot: int) -> float:
        item = slot - 1
        chance = popularity_I[item] / popularity_I.sum() + negatives / ITEMS
        return float(user_GD[group] @ item_UD[slot]) / 0.2 - (math.log(chance) if correction else 0.0)

    total = 0.0
    for group in range(9):
        own = int(batch.candidate_GC[group, 0])
        others = [int(slot) for slot in batch.candidate_GC.flatten() if slot > 0 and slot != own]
        powers = sum(math.exp(logit(group, slot)) for slot in [own, *others])
        total += math.log(powers) - logit(group, own)
    assert float(model(batch).total) == pytest.approx(total / 9, rel=1e-5)


@torch.no_grad()
def test_scores_are_cosines_of_the_towers() -> None:
    model: Any = learnt(build("two_tower", {"temperature": 0.5}))
    batch = random_rows(2)
    user_GD, _ = model._towers(batch)
    assert_close(user_GD.norm(dim=1), torch.ones(len(user_GD), dtype=torch.float64))
    score_GC = model.score(batch)
    for group in range(len(score_GC)):
        history = [slot for slot in batch.history_GL[group].tolist() if slot]
        input_UD = torch.stack([model.items(batch)[slot] + model.title(batch.title_UT[slot]) for slot in range(13)])
        pooled_D = sum((input_UD[slot] for slot in history), torch.zeros(16)) / max(1, len(history))
        newest_D = input_UD[history[-1]] if history else torch.zeros(16)
        parts = [model.query(batch.query_GQ[group]), model.task.weight[int(SEARCH)], pooled_D, newest_D]
        user_D = model.user_tower(torch.cat([part.double() for part in parts]))
        assert_close(user_D / user_D.norm(), user_GD[group])
        for place, slot in enumerate(batch.candidate_GC[group].tolist()):
            item_D = model.item_tower(input_UD[slot])
            expected = user_D @ item_D / user_D.norm() / item_D.norm() / 0.5
            assert_close(score_GC[group, place], expected)


def test_items_of_the_same_row_of_the_catalogue_are_one_item() -> None:
    """Folds give an item several slots."""
    model = learnt(build("two_tower"))
    batch = random_rows(3, groups=2)
    batch.candidate_GC[:] = torch.tensor([[1, 3, 3, 4], [2, 3, 3, 4]])
    batch.item_U[2] = batch.item_U[1]
    batch.title_UT[2] = batch.title_UT[1]
    both = model(batch).total
    batch.candidate_GC[1, 0] = 1
    assert_close(model(batch).total, both)


@pytest.mark.parametrize("pooling", ["mean", "attention"])
def test_learns_from_queries_and_histories(pooling: str) -> None:
    assert share_found("two_tower", told_by_query, pooling=pooling, until=0.9) > 0.9
    assert share_found("two_tower", told_by_history, REC, pooling=pooling, until=0.9) > 0.9
