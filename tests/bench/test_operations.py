"""Operations counted by torch and by hand."""

import dataclasses
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from gensr_dist.bench.costs import Limits
from gensr_dist.bench.operations import (
    TRAINING,
    GroupTokens,
    Sizes,
    operation_counter,
    our_history_match,
    our_match,
    our_rows,
    our_term_match,
    plain_row,
)
from gensr_dist.bench.parts import PartTimes
from gensr_dist.bench.plain import PlainCollator
from gensr_dist.bench.synthetic import CF_WIDTH, HISTORY, synthetic_batch, word_tokenizer
from gensr_dist.bench.ways import Ours, Plain
from gensr_dist.data.events import Behaviour
from gensr_dist.model.config import ModelConfig
from tests.bench.settings import tiny_setting

CPU = torch.device("cpu")
SETTING = tiny_setting(history="tokens", candidates=4, lengths="full")


def count_operations(run: Callable[[], object]) -> int:
    with operation_counter() as counted:
        run()
    return counted()


@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_attention_is_counted_forward_and_backward(dropout: float) -> None:
    query, key, value = (torch.randn(2, 3, length, 8, requires_grad=True) for length in (5, 7, 7))
    mask = torch.ones(2, 1, 1, 7, dtype=torch.bool)
    out = []
    forward = count_operations(
        lambda: out.append(F.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=dropout))
    )
    products = 2 * 2 * 3 * 5 * 7 * 8  # of one of both
    assert forward == 2 * products
    backward = count_operations(lambda: out[0].sum().backward())
    # Without dropout one kernel does it, which forms the scores again.
    assert backward == (4 if dropout else 5) * products


def test_products_added_in_place_are_counted() -> None:
    total, left, right = torch.zeros(2, 3, 5), torch.randn(2, 3, 4), torch.randn(2, 4, 5)
    assert count_operations(lambda: total.baddbmm_(left, right)) == 2 * 2 * 3 * 4 * 5


def test_linear_layers_are_counted() -> None:
    layer = torch.nn.Linear(6, 10)
    assert count_operations(lambda: layer(torch.randn(4, 6))) == 2 * 4 * 6 * 10


@pytest.mark.parametrize("history", ["tokens", "pooled"])
@torch.no_grad()
def test_counts_by_hand_are_those_of_torch(history: str) -> None:
    setting = dataclasses.replace(SETTING, history=history)
    batch = synthetic_batch(setting.shape(2), 0)
    sizes = Sizes.of(setting.model, setting.vocabulary, CF_WIDTH)
    plain = Plain(setting, CPU)
    plain.module.eval()
    counted = count_operations(lambda: plain.score(plain.ready(batch))) / 8
    assert counted == pytest.approx(plain_row(sizes), rel=0.01)

    ours = Ours(setting, CPU)
    ours.module.eval()
    groups = GroupTokens.of_batch(batch, plain.collator, share_contexts=True)
    counted = count_operations(lambda: ours.score(ours.ready(batch)))
    predicted = our_rows(sizes, groups, 4, answer_logits=2)
    assert counted == pytest.approx(predicted, rel=0.05)


@torch.no_grad()
def test_counts_by_hand_of_likenesses_are_those_of_torch() -> None:
    batch = synthetic_batch(dataclasses.replace(SETTING, lengths="log").shape(12), 0)
    ours = Ours(SETTING, CPU)
    times = PartTimes(CPU)
    ours.watch(times)
    costs = times.costs(lambda: ours.score(ours.ready(batch)), Limits(flops=1.0, bytes=1.0))
    collator = PlainCollator(SETTING.model.prompts, word_tokenizer(SETTING.vocabulary))
    groups = GroupTokens.of_batch(batch, collator, share_contexts=True)
    sizes = Sizes.of(SETTING.model, SETTING.vocabulary, CF_WIDTH)
    assert costs["match"][0] == pytest.approx(our_match(sizes, groups, 4), rel=0.01)
    assert costs["term_match"][0] == pytest.approx(our_term_match(sizes, groups, 4), rel=0.05)
    padded = [dataclasses.replace(group, items=HISTORY) for group in groups]
    assert costs["history_match"][0] == our_history_match(sizes, padded, 4)


def test_the_counts_of_the_docstring() -> None:
    sizes = Sizes.of(ModelConfig(backbone="small"), 32_128, 64)
    assert plain_row(sizes) == pytest.approx(6.804e9, rel=1e-4)
    lengths = {"context": 8, "attended": 8, "block": 4, "items": 6, "titles": 99, "query": 3, "new_terms": 3}
    trained = GroupTokens(**lengths, new_words=175, new_items=11)
    assert our_rows(sizes, [trained] * 12, 5, answer_logits=32_128) / 60 == pytest.approx(0.383e9, rel=2e-3)
    scored = GroupTokens(**lengths, new_words=1_600, new_items=106)
    assert our_rows(sizes, [scored] * 2, 100, answer_logits=2) / 200 == pytest.approx(0.207e9, rel=2e-3)


def test_lengths_of_groups_leave_padding_out_and_count_equal_contexts_once() -> None:
    setting = dataclasses.replace(SETTING, lengths="log")
    batch = synthetic_batch(setting.shape(7), 0)
    collator = PlainCollator(setting.model.prompts, word_tokenizer(100))
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


def test_parts_leave_out_what_their_inner_parts_take(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 1.0, 3.0, 4.0, 8.0, 10.0])
    monkeypatch.setattr("gensr_dist.bench.parts.time.perf_counter", lambda: next(clock))
    times = PartTimes(CPU)
    layer = torch.nn.Identity()
    times.watch(layer, "forward", "inner")
    with times.part("outer"):  # 0 to 10
        layer(1)  # 1 to 3
        layer(1)  # 4 to 8
    assert times.seconds == {"inner": 6.0, "outer": 4.0}
    assert times.shares() == {"inner": 0.6, "outer": 0.4}


def test_training_counts_a_context_a_group() -> None:
    batch = synthetic_batch(SETTING.shape(8), 0)
    ours = Ours(SETTING, CPU)
    collator = PlainCollator(SETTING.model.prompts, word_tokenizer(100))
    sizes = Sizes.of(SETTING.model, SETTING.vocabulary, CF_WIDTH)
    counted = count_operations(lambda: ours.loss(ours.ready(batch)).backward())
    alone, shared = (
        TRAINING * our_rows(sizes, GroupTokens.of_batch(batch, collator, share_contexts=share), 4, answer_logits=100)
        for share in (False, True)
    )
    assert counted == pytest.approx(alone, rel=0.05)
    assert abs(counted - alone) < abs(counted - shared)
