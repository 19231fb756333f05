"""What the host makes of a batch: compact histories, shared contexts, a vocabulary of the batch's own."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gensr_dist.data.batches.batch import IGNORED, Batch
from gensr_dist.data.events import Behaviour
from gensr_dist.model.config import PromptConfig
from gensr_dist.model.inputs import History, InputBuilder, ModelInput
from gensr_dist.model.prompt import PromptAssembler
from tests.model.builders import corpus_tokenizer, groups_of, random_batch, tiny_config, tiny_model


def tiny_inputs(**changes: object) -> InputBuilder:
    tokenizer = corpus_tokenizer()
    return InputBuilder(
        tiny_config(**changes), PromptAssembler(PromptConfig(), tokenizer), vocabulary=len(tokenizer), start=0
    )


def built(seed: int, history: str = "tokens", scoring: str = "shared", **changes: object) -> ModelInput:
    return tiny_inputs(semantic_history=history, scoring=scoring)(
        replace(random_batch(seed, groups=4, padded_candidates=True), **changes)
    )


@settings(max_examples=20)
@given(seed=st.integers(0, 10_000), history=st.sampled_from(["tokens", "pooled"]))
def test_entries_of_a_history_are_its_items_or_tokens_in_order(seed: int, history: str) -> None:
    inputs = built(seed, history)
    batch, view = inputs.batch, inputs.semantic_history
    entries = view.packing.pad(torch.stack([view.entry_K, view.recency_K, view.behaviour_K], dim=1))
    for g in range(len(batch.row_G)):
        items = [item for item in batch.history_GL[g].tolist() if item]
        expected = []
        for place, item in enumerate(items):
            tokens = [t for t in batch.title_UT[item].tolist() if t] if history == "tokens" else [item]
            expected += [[t, len(items) - 1 - place, int(batch.behaviour_GL[g, place])] for t in tokens]
        found = entries[g][view.mask_GN[g]]
        if history == "tokens":
            found[:, 0] = inputs.token_W[found[:, 0]]
        assert found.tolist() == expected
    assert view.mask_GN.shape[1] == max(1, int(view.mask_GN.sum(1).max())), "no place that all histories leave empty"


@settings(max_examples=50)
@given(length=st.lists(st.integers(0, 150), min_size=1, max_size=20))
def test_attention_pads_a_history_to_less_than_twice_its_length_or_an_eighth_of_the_longest(length: list[int]) -> None:
    longest = max(1, *length)
    length_G = torch.tensor(length)
    entry_GX = torch.arange(1, 1 + len(length) * longest).view(len(length), longest)
    entry_GX = entry_GX * (torch.arange(longest) < length_G[:, None])
    view = History.of(entry_GX, entry_GX + 1, entry_GX + 2)
    assert torch.equal(view.packing.pad(view.entry_K), entry_GX)
    assert torch.equal(view.recency_K, view.entry_K + 1)
    assert torch.equal(view.behaviour_K, view.entry_K + 2)
    assert torch.equal(view.packing.pack(entry_GX), view.entry_K)
    parts = view.entry_K.split([bucket.packing.tokens for bucket in view.buckets])
    found = []
    for entry_T, bucket in zip(parts, view.buckets, strict=True):
        padded_BN = bucket.packing.pad(entry_T)
        assert torch.equal(padded_BN > 0, bucket.mask_BN)
        width = padded_BN.shape[1]
        for entry_N in padded_BN.tolist():
            found.append([entry for entry in entry_N if entry])
            assert width <= max(2 * len(found[-1]), longest // 8, 2 * 16)
    assert sorted(found) == sorted([entry for entry in entry_X if entry] for entry_X in entry_GX.tolist())


@settings(max_examples=10)
@given(seed=st.integers(0, 10_000))
def test_numbers_stand_for_the_tokens(seed: int) -> None:
    inputs = built(seed)
    assert inputs.token_W[0] == 0
    assert (inputs.token_W.diff() > 0).all()
    assert torch.equal(inputs.token_W[inputs.title_UT], inputs.batch.title_UT)
    assert torch.equal(inputs.title_UT == 0, inputs.batch.title_UT == 0)


@settings(max_examples=30)
@given(seed=st.integers(0, 10_000), groups=st.integers(1, 6))
def test_queries_are_those_of_searches_with_a_token(seed: int, groups: int) -> None:
    """Whatever stands in the query of a recommendation."""
    batch = random_batch(seed, groups=groups)
    random = torch.Generator().manual_seed(seed)
    length_G1 = torch.randint(0, 5, (groups, 1), generator=random)
    query_GQ = torch.randint(13, 30, batch.query_GQ.shape, generator=random)  # few words: queries share them
    batch = replace(batch, query_GQ=query_GQ * (torch.arange(query_GQ.shape[1]) < length_G1))
    inputs = tiny_inputs()(batch)
    queries = {
        g: tokens
        for g, (task, tokens) in enumerate(zip(batch.task_G.tolist(), batch.query_GQ.tolist(), strict=True))
        if task == Behaviour.SEARCH and any(tokens)
    }
    assert inputs.searching_Z.dtype == inputs.term_A.dtype == inputs.query_ZQ.dtype == torch.int64
    assert inputs.searching_Z.tolist() == list(queries)
    assert inputs.query_ZQ.shape == (len(queries), batch.query_GQ.shape[1])
    assert inputs.token_W[inputs.term_A[inputs.query_ZQ]].tolist() == list(queries.values())
    assert inputs.token_W[inputs.term_A].tolist() == sorted({0}.union(*queries.values()))


def test_a_batch_without_a_search_has_no_query() -> None:
    batch = random_batch(0, groups=4)
    inputs = built(0, task_G=torch.full_like(batch.task_G, Behaviour.RECOMMENDATION))
    assert inputs.searching_Z.tolist() == []
    assert inputs.term_A.tolist() == [0]
    assert inputs.query_ZQ.shape == (0, batch.query_GQ.shape[1])


@pytest.mark.parametrize("scoring", ["joint", "shared"])
def test_padded_candidates_take_no_token(scoring: str) -> None:
    inputs = built(3, scoring=scoring)
    padded_GC = inputs.batch.label_GC == IGNORED
    assert padded_GC.any()
    assert not inputs.layout.own_mask_GCN[padded_GC].any()
    assert inputs.layout.own.tokens == int(inputs.layout.own_mask_GCN.sum())
    assert inputs.layout.own_mask_GCN[~padded_GC].any(1).all()


def test_all_recommendations_share_a_context() -> None:
    batch = random_batch(0, groups=4)
    task_G = torch.full_like(batch.task_G, Behaviour.RECOMMENDATION)
    inputs = built(0, task_G=task_G)
    assert len(inputs.context_RS) == 1
    assert inputs.layout.request_G.tolist() == [0] * 4
    assert inputs.layout.contexts is not None
    assert inputs.layout.contexts.tokens == inputs.context_RS.shape[1]


@torch.no_grad()
def test_a_shared_context_is_encoded_once() -> None:
    """The encoder's linear layers see the tokens of one context and of the blocks, and none of padding."""
    model, batch = tiny_model(), random_batch(0, groups=4, padded_candidates=True)
    inputs = model.inputs(replace(batch, task_G=torch.zeros_like(batch.task_G)))
    seen: list[int] = []
    query = model.backbone.t5.encoder.block[0].layer[0].SelfAttention.q
    hook = query.register_forward_hook(lambda _m, arguments, _o: seen.append(arguments[0].shape[0]))
    model(inputs)
    hook.remove()
    candidates = int((batch.label_GC != IGNORED).sum())
    slots_and_words = int((inputs.block_slot_GP[0] >= 0).sum() + (inputs.block_GP[0] != 0).sum())
    assert seen == [inputs.context_RS.shape[1] + candidates * slots_and_words]


@pytest.mark.parametrize(("dropout", "requests"), [(0.1, [0, 1, 2, 3]), (0.0, [0, 0, 0, 0])])
def test_in_training_each_group_has_a_context_of_its_own_where_there_is_dropout(
    dropout: float, requests: list[int]
) -> None:
    batch = random_batch(0, groups=4)
    batch = replace(batch, task_G=torch.zeros_like(batch.task_G))
    inputs = tiny_model(dropout=dropout).inputs(batch, training=True)
    assert len(inputs.context_RS) == len(set(requests))
    assert inputs.layout.request_G.tolist() == requests


@pytest.mark.parametrize("scoring", ["joint", "shared"])
def test_a_shared_context_has_the_gradients_of_all_its_groups(scoring: str) -> None:
    """A batch of one task against its groups one at a time."""
    batch = random_batch(0, groups=4)
    batch = replace(batch, task_G=torch.zeros_like(batch.task_G))
    model = tiny_model(scoring=scoring, dropout=0.0).train().double()

    def gradients(*parts: Batch) -> dict[str, torch.Tensor]:
        model.zero_grad()
        for part in parts:
            model(model.inputs(part, training=True)).nll_GC.sum().backward()
        return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}

    together, apart = gradients(batch), gradients(*(groups_of(batch, [g]) for g in range(4)))
    assert together.keys() == apart.keys()
    for name, gradient in together.items():
        torch.testing.assert_close(gradient, apart[name], msg=name)
