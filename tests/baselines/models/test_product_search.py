"""What QEM and its children share: score, loss, words of items."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from gensr_dist.baselines.registry import BASELINES
from tests.baselines.layers.checks import assert_close, learnt
from tests.baselines.models.planted import (
    CHANCE,
    build,
    facts,
    query_vector,
    random_rows,
    share_found,
    told_by_history,
    told_by_query,
    told_by_user,
)


@torch.no_grad()
def test_qem_is_query_times_item_plus_bias() -> None:
    model = learnt(build("qem"))
    batch = random_rows(1)
    score_GC = model.score(batch)
    for group in range(len(score_GC)):
        query_D = query_vector(model, batch.query_GQ[group])
        for place, slot in enumerate(batch.candidate_GC[group].tolist()):
            expected = query_D @ model.items.table.weight[slot - 1] + model.bias_I[slot - 1]
            assert_close(score_GC[group, place], expected)


@torch.no_grad()
def test_losses_are_those_of_rows_and_of_words() -> None:
    model = learnt(build("qem", {"word_negatives": 4}))
    batch = replace(random_rows(2), row_G=torch.tensor([0, 1, 2, 3, -1, 5]), step_groups=10)
    torch.manual_seed(3)
    parts = model(batch).parts
    torch.manual_seed(3)
    negatives = iter(model.sampler.draw(4 * 5, torch.default_generator).view(5, 4).tolist())
    score_GC = model.score(batch)
    ranking = words = 0.0
    for group in (0, 1, 2, 3, 5):
        ranking -= score_GC[group, 0].sigmoid().log() + (-score_GC[group, 1:]).sigmoid().log().sum()
        slot = int(batch.candidate_GC[group, 0])
        item_D, table_VD, bias_V = model.items.table.weight[slot - 1], model.words.weight, model.word_bias_V
        against, own = next(negatives), [word for word in batch.title_UT[slot].tolist() if word]
        for word in own:
            words -= (item_D @ table_VD[word] + bias_V[word]).sigmoid().log() / len(own)
            for other in against:
                words -= (-(item_D @ table_VD[other] + bias_V[other])).sigmoid().log() / len(own)
    assert_close(parts["ranking"], ranking / 10)
    assert_close(parts["words"], words / 10)
    assert set(parts) == {"ranking", "words"}


@torch.no_grad()
@pytest.mark.parametrize("name", ["qem", "hem", "aem", "zam", "tem", "copps"])
def test_a_long_title_weighs_no_more_than_a_short_one(name: str) -> None:
    model, batch = learnt(build(name)), random_rows(2)
    longer = replace(batch, title_UT=batch.title_UT.repeat(1, 8))
    parts = []
    for each in (batch, longer):
        torch.manual_seed(3)
        parts.append(model(each).parts)
    assert parts[0]["words"] > 0
    for part in {"words", "user_words"} & set(parts[0]):
        assert_close(parts[1][part], parts[0][part])


@pytest.mark.parametrize(("name", "rate"), [("qem", 0.1), ("hem", 0.0), ("aem", 0.1), ("zam", 0.1), ("tem", 0.1)])
def test_words_of_queries_are_dropped_as_their_authors_do(name: str, rate: float) -> None:
    model: Any = BASELINES[name].build(BASELINES[name].settings(), facts())
    assert model.query.dropout.rate == rate


def test_words_can_be_left_out() -> None:
    model = build("qem", {"word_negatives": 0})
    assert set(model(random_rows(1)).parts) == {"ranking"}
    assert not hasattr(model, "word_bias_V")


@pytest.mark.parametrize("name", ["qem", "hem", "aem", "zam", "tem", "copps"])
def test_a_query_that_tells_the_answer_is_learnt(name: str) -> None:
    assert share_found(name, told_by_query, until=0.9) > 0.9


@pytest.mark.parametrize("name", ["aem", "zam", "tem", "copps"])
def test_a_history_that_tells_the_answer_is_learnt(name: str) -> None:
    assert share_found(name, told_by_history, until=0.9) > 0.9


@pytest.mark.parametrize("name", ["qem", "hem"])
def test_nothing_is_learnt_where_only_the_history_tells(name: str) -> None:
    assert share_found(name, told_by_history) < CHANCE + 0.1


def test_a_user_who_tells_the_answer_is_learnt_by_hem_alone() -> None:
    assert share_found("hem", told_by_user, until=0.9) > 0.9
    for name in ("qem", "aem"):
        assert share_found(name, told_by_user) < CHANCE + 0.1
