"""JSR: matrix factorisation, and the likelihood of words."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.baselines.layers.checks import assert_close, learnt
from tests.baselines.models.planted import (
    CHANCE,
    ITEMS,
    REC,
    SEARCH,
    WORDS,
    build,
    random_rows,
    share_found,
    titles,
    told_by_history,
    told_by_query,
    told_by_user,
)


def log_word(model: Any, item: int, word: int) -> Tensor:
    """log p(w | i), padding being no word."""
    item_K = model.projection.weight @ model.items.table.weight[item]
    powers = [(item_K @ model.words.weight[other]).exp() for other in range(1, WORDS)]
    return (item_K @ model.words.weight[word]) - torch.stack(powers).sum().log()


@torch.no_grad()
def test_search_is_the_smoothed_likelihood_of_the_query() -> None:
    model: Any = learnt(build("jsr", {"item_share": 0.6}))
    batch = random_rows(1)
    score_GC = model.score(batch)
    counts = [1 + int((titles() == word).sum()) for word in range(1, WORDS)]
    for group in range(len(score_GC)):
        for place, slot in enumerate(batch.candidate_GC[group].tolist()):
            expected = 0.0
            for word in batch.query_GQ[group].tolist():
                if word:
                    corpus = counts[word - 1] / (1 + sum(counts))  # padding has one, too
                    expected += math.log(0.6 * math.exp(log_word(model, slot - 1, word)) + 0.4 * corpus)
            assert float(score_GC[group, place]) == pytest.approx(expected, abs=1e-5)
    assert torch.equal(model.score(replace(batch, user_G=batch.user_G.flip(0))), score_GC)


@pytest.mark.parametrize("layers", [0, 2])
@torch.no_grad()
def test_recommendation_is_of_user_and_item(layers: int) -> None:
    model: Any = learnt(build("jsr", {"layers": layers}))
    batch = random_rows(2, task=REC)
    score_GC = model.score(batch)
    for group, user in enumerate(batch.user_G.tolist()):
        for place, slot in enumerate(batch.candidate_GC[group].tolist()):
            product_D = model.users.table.weight[user + 1] * model.items.table.weight[slot - 1]
            assert_close(score_GC[group, place], model.head(product_D) if layers else product_D.sum())
    wordless = replace(batch, task_G=torch.full_like(batch.task_G, int(SEARCH)), query_GQ=0 * batch.query_GQ)
    assert torch.equal(model.score(wordless), score_GC)


@pytest.mark.parametrize("task", [REC, SEARCH])
def test_with_lambda_0_it_is_matrix_factorisation(task: Any) -> None:
    model: Any = learnt(build("jsr", {"words": 0.0}))
    batch = random_rows(3, task=task)
    losses = model(batch)
    assert set(losses.parts) == {"ranking"}
    losses.total.backward()
    user_VD = model.users.table.weight.detach().clone().requires_grad_()
    item_ID = model.items.table.weight.detach().clone().requires_grad_()
    loss = torch.zeros((), dtype=torch.float64)
    for group, user in enumerate(batch.user_G.tolist()):
        for place, slot in enumerate(batch.candidate_GC[group].tolist()):
            score = user_VD[user + 1] @ item_ID[slot - 1]
            loss = loss - (score if place == 0 else -score).sigmoid().log()
    loss = loss / batch.step_groups
    loss.backward()
    assert_close(losses.total, loss)
    assert_close(model.users.table.weight.grad, user_VD.grad)
    assert_close(model.items.table.weight.grad, item_ID.grad)
    assert model.words.weight.grad is None


@torch.no_grad()
def test_positives_tell_their_words() -> None:
    model: Any = learnt(build("jsr", {"words": 0.3}))
    batch = replace(random_rows(4), row_G=torch.tensor([0, 1, -1, 3, 4, 5]))
    batch.query_GQ[3] = 0
    expected = 0.0
    for group in (0, 1, 3, 4, 5):
        slot = int(batch.candidate_GC[group, 0])
        for text in (batch.query_GQ[group].tolist(), batch.title_UT[slot].tolist()):
            told = [log_word(model, slot - 1, word) for word in text if word]
            expected -= sum(told) / max(1, len(told))
    assert_close(model(batch).parts["words"], 0.3 * expected / batch.step_groups)


@torch.no_grad()
def test_items_at_a_time_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    model = learnt(build("jsr"))
    expected = model.score(random_rows(5))
    monkeypatch.setattr("gensr_dist.baselines.models.jsr._BLOCK", ITEMS // 5)
    assert_close(model.score(random_rows(5)), expected)


def test_learns_from_queries_and_users_but_not_from_histories() -> None:
    assert share_found("jsr", told_by_query, until=0.9) > 0.9
    assert share_found("jsr", told_by_user, REC, until=0.9) > 0.9
    assert share_found("jsr", told_by_user) < CHANCE + 0.1
    assert share_found("jsr", told_by_history, REC) < CHANCE + 0.1
