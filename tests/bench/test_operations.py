"""Operations counted by torch and by hand."""

import dataclasses

import pytest
import torch

from gensr_dist.bench.parts import PartTimes
from gensr_dist.bench.reference_rows import ReferenceCollator
from gensr_dist.bench.synthetic import CF_WIDTH, HISTORY, synthetic_batch, word_tokenizer
from gensr_dist.bench.workload import our_model, reference_model
from gensr_dist.data.events import Behaviour
from gensr_dist.model.config import ModelConfig
from tests.bench.operation_counts import (
    TRAINING,
    GroupTokens,
    Sizes,
    our_history_match,
    our_match,
    our_rows,
    our_term_match,
    reference_row,
)
from tests.bench.settings import tiny_setting
from tests.bench.test_parts import count_operations

CPU = torch.device("cpu")
SETTING = tiny_setting(history="tokens", candidates=4, lengths="full")


def collator_of(vocabulary: int) -> ReferenceCollator:
    return ReferenceCollator(SETTING.model.prompts, word_tokenizer(vocabulary))


@pytest.mark.parametrize("history", ["tokens", "pooled"])
@torch.no_grad()
def test_counts_by_hand_are_those_of_torch(history: str) -> None:
    setting = dataclasses.replace(SETTING, history=history)
    batch = synthetic_batch(setting.shape(2), 0)
    sizes = Sizes.of(setting.model, setting.vocabulary, CF_WIDTH)
    unfused, model = reference_model(setting, CPU), our_model(setting, CPU)
    unfused.module.eval()
    counted = count_operations(lambda: unfused.score(unfused.ready(batch))) / 8
    assert counted == pytest.approx(reference_row(sizes), rel=0.01)

    model.module.eval()
    groups = GroupTokens.of_batch(batch, collator_of(setting.vocabulary), share_contexts=True)
    counted = count_operations(lambda: model.score(model.ready(batch)))
    predicted = our_rows(sizes, groups, 4, answer_logits=2)
    assert counted == pytest.approx(predicted, rel=0.05)


@torch.no_grad()
def test_counts_by_hand_of_likenesses_are_those_of_torch() -> None:
    batch = synthetic_batch(dataclasses.replace(SETTING, lengths="log").shape(12), 0)
    model, times = our_model(SETTING, CPU), PartTimes(CPU)
    for name, owner, method in model.parts:
        times.watch(owner, method, name)
    counted = times.operations(lambda: model.score(model.ready(batch)))
    groups = GroupTokens.of_batch(batch, collator_of(SETTING.vocabulary), share_contexts=True)
    sizes = Sizes.of(SETTING.model, SETTING.vocabulary, CF_WIDTH)
    assert counted["match"] == pytest.approx(our_match(sizes, groups, 4), rel=0.01)
    assert counted["term_match"] == pytest.approx(our_term_match(sizes, groups, 4), rel=0.05)
    padded = [dataclasses.replace(group, items=HISTORY) for group in groups]
    assert counted["history_match"] == our_history_match(sizes, padded, 4)


def test_the_counts_of_the_docstring() -> None:
    sizes = Sizes.of(ModelConfig(backbone="small"), 32_128, 64)
    assert reference_row(sizes) == pytest.approx(6.804e9, rel=1e-4)
    lengths = {"context": 8, "attended": 8, "block": 4, "items": 6, "titles": 99, "query": 3, "new_terms": 3}
    trained = GroupTokens(**lengths, new_words=175, new_items=11)
    assert our_rows(sizes, [trained] * 12, 5, answer_logits=32_128) / 60 == pytest.approx(0.383e9, rel=2e-3)
    scored = GroupTokens(**lengths, new_words=1_600, new_items=106)
    assert our_rows(sizes, [scored] * 2, 100, answer_logits=2) / 200 == pytest.approx(0.207e9, rel=2e-3)


def test_lengths_of_groups_leave_padding_out_and_count_equal_contexts_once() -> None:
    setting = dataclasses.replace(SETTING, lengths="log")
    batch = synthetic_batch(setting.shape(7), 0)
    collator = collator_of(100)
    groups = GroupTokens.of_batch(batch, collator, share_contexts=True)
    assert [group.items for group in groups] == (batch.history_GL != 0).sum(1).tolist()
    assert sum(group.titles for group in groups) == int((batch.title_UT[batch.history_GL] != 0).sum())
    recommended = [g for g in range(7) if batch.task_G[g] == Behaviour.RECOMMENDATION]
    assert [groups[g].context for g in recommended] == [5] + [0] * (len(recommended) - 1)
    for g in set(range(7)) - set(recommended):
        assert groups[g].context == groups[g].attended == 5 + int((batch.query_GQ[g] != 0).sum())
    assert {group.block for group in groups} == {4}
    assert [group.query for group in groups] == (batch.query_GQ != 0).sum(1).tolist()
    assert sum(group.new_items for group in groups) == len(batch.item_U) - 1
    assert sum(group.new_terms for group in groups) == len(batch.query_GQ.unique()) - 1
    texts = (batch.title_UT, collator(batch).prompt_BM.clamp_min(0))
    assert sum(group.new_words for group in groups) == len(torch.cat([text.flatten() for text in texts]).unique()) - 1
    alone = GroupTokens.of_batch(batch, collator, share_contexts=False)
    assert [group.context for group in alone] == [group.attended for group in groups]


@pytest.mark.parametrize("history", ["tokens", "pooled"])
@pytest.mark.parametrize("training", [False, True])
def test_tokens_of_ours_are_those_of_its_groups(history: str, training: bool) -> None:
    setting = tiny_setting(history=history, candidates=4)
    batch, model = synthetic_batch(setting.shape(7), 0), our_model(setting, CPU)
    model.module.train(training)
    groups = GroupTokens.of_batch(batch, collator_of(100), share_contexts=not training)
    histories = sum(group.titles if history == "tokens" else group.items for group in groups)
    prompts = sum(group.context + 4 * group.block for group in groups)
    assert model.tokens(model.ready(batch)) == prompts + histories


def test_training_counts_a_context_a_group() -> None:
    batch = synthetic_batch(SETTING.shape(8), 0)
    model = our_model(SETTING, CPU)
    collator = collator_of(100)
    sizes = Sizes.of(SETTING.model, SETTING.vocabulary, CF_WIDTH)
    counted = count_operations(lambda: model.loss(model.ready(batch)).backward())
    alone, shared = (
        TRAINING * our_rows(sizes, GroupTokens.of_batch(batch, collator, share_contexts=share), 4, answer_logits=100)
        for share in (False, True)
    )
    assert counted == pytest.approx(alone, rel=0.05)
    assert abs(counted - alone) < abs(counted - shared)
