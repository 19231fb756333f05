"""Texts as weighted means of their tokens' embeddings, within the model and in its folder.

Dimensions: U items of the batch, T title tokens, V vocabulary, D width of the backbone.
"""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor

from gensr_dist.data.batches.batch import Batch
from gensr_dist.data.events import Behaviour
from gensr_dist.model.gensr import GenSR
from gensr_dist.model.precision import with_weights_in
from tests.model.builders import CF_WIDTH, corpus_tokenizer, random_batch, tiny_config, tiny_model

ITEM_TEXT = 3  # place in prompt.SLOTS
PAD, UNKNOWN = 0, 2


def weights_of_tokens(seed: int = 0) -> np.ndarray:
    """As of a catalogue: padding, unknown tokens and one that all titles have weigh nothing."""
    weight_V = np.random.default_rng(seed).uniform(0.2, 6.0, len(corpus_tokenizer())).astype(np.float32)
    weight_V[[PAD, UNKNOWN, 20]] = 0
    return weight_V


def weighing_model(**changes: Any) -> GenSR:
    """A float64 model to whose texts its tokens count differently."""
    model = tiny_model(**changes).double()
    model.token_idf_V.copy_(torch.from_numpy(weights_of_tokens()))
    return model


def weighted_mean(model: GenSR, tokens: Iterable[int]) -> Tensor:
    """The mean of a text, a token at a time."""
    table_VD = model.token_embeddings()
    total_D, weights = torch.zeros_like(table_VD[0]), 0.0
    for token in tokens:
        weight = float(model.token_idf_V[token])
        if token != PAD and weight:
            total_D, weights = total_D + weight * table_VD[token], weights + weight
    return total_D / weights if weights else total_D


def means(model: GenSR, title_UT: Tensor) -> Tensor:
    return torch.stack([weighted_mean(model, title_T) for title_T in title_UT.tolist()])


@settings(max_examples=20)
@given(seed=st.integers(0, 10_000), U=st.integers(1, 5), T=st.integers(1, 6))
@torch.no_grad()
def test_a_pooled_text_is_the_weighted_mean_of_its_tokens(seed: int, U: int, T: int) -> None:
    model, generator = weighing_model(), torch.Generator().manual_seed(seed)
    title_UT = torch.randint(1, len(corpus_tokenizer()), (U, T), generator=generator)
    title_UT[torch.rand(U, T, generator=generator) < 0.2] = UNKNOWN
    title_UT *= torch.arange(T) < torch.randint(0, T + 1, (U, 1), generator=generator)
    expected_UD = means(model, title_UT)
    torch.testing.assert_close(model.item_semantic(title_UT), expected_UD, rtol=1e-9, atol=1e-9)
    model.token_idf_V[PAD] = 7.0  # whatever it weighs
    model.token_idf_V *= 3.0
    padded_UT = torch.nn.functional.pad(title_UT, (1, 2))
    torch.testing.assert_close(model.item_semantic(padded_UT), expected_UD, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", [torch.float64, torch.float32, torch.bfloat16])
@torch.no_grad()
def test_a_text_without_a_token_that_weighs_anything_is_zeros(kind: torch.dtype) -> None:
    model = weighing_model().to(kind)
    title_UT = torch.tensor([[0, 0, 0], [UNKNOWN, 0, 0], [UNKNOWN, UNKNOWN, UNKNOWN], [20, UNKNOWN, 0], [30, 2, 0]])
    pooled_UD = model.item_semantic(title_UT)
    assert torch.equal(pooled_UD[:4], torch.zeros_like(pooled_UD[:4]))
    torch.testing.assert_close(pooled_UD[4], model.token_embeddings()[30])


def slots_and_history(model: GenSR, batch: Batch) -> tuple[Tensor, Tensor]:
    """The slots that T5 is told [G, C, X, D], and the entries of the semantic history [K, D]."""
    caught: list[Tensor] = []
    whole = GenSR._answer

    def answer(self: GenSR, *given_: Any) -> Tensor:
        caught.append(given_[2])
        return whole(self, *given_)

    hook = model.semantic_history.register_forward_pre_hook(lambda _m, given_: caught.append(given_[0]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(GenSR, "_answer", answer)
        model(model.inputs(batch))
    hook.remove()
    entry_KD, slot_GCXD = caught
    return slot_GCXD, entry_KD


def batch_with_unknown_titles() -> Batch:
    batch = random_batch(5, groups=6)
    batch.title_UT[1], batch.title_UT[2, 0] = UNKNOWN, UNKNOWN
    assert (batch.candidate_GC == 1).any()
    assert (batch.history_GL == 1).any()
    return batch


@torch.no_grad()
def test_candidates_and_pooled_histories_are_weighted_means() -> None:
    model, batch = (
        weighing_model(semantic_history="pooled", term_match=False, query_evidence=False),
        batch_with_unknown_titles(),
    )
    slot_GCXD, entry_KD = slots_and_history(model, batch)
    text_UD = means(model, batch.title_UT)
    assert (text_UD[1] == 0).all()
    torch.testing.assert_close(slot_GCXD[:, :, ITEM_TEXT], text_UD[batch.candidate_GC])
    items = model.inputs(batch).semantic_history.entry_K
    assert sorted(items.tolist()) == sorted(batch.history_GL[batch.history_GL != 0].tolist())
    torch.testing.assert_close(entry_KD, text_UD[items])


@torch.no_grad()
def test_towers_know_items_and_queries_by_weighted_means() -> None:
    model, batch = weighing_model(cf_view=False), batch_with_unknown_titles()
    assert model.match is not None
    nothing_GL = torch.zeros_like(batch.history_GL)
    batch = replace(batch, history_GL=nothing_GL, behaviour_GL=nothing_GL)
    searching = [g for g, query_Q in enumerate(batch.query_GQ.tolist()) if len({*query_Q} - {0}) > 1]
    batch.query_GQ[searching[0], 1] = UNKNOWN
    asked_G = batch.task_G == Behaviour.SEARCH
    assert asked_G[searching].all()
    found = model(model.inputs(batch)).match
    query_GD = means(model, batch.query_GQ) * asked_G[:, None]
    torch.testing.assert_close(found.user_GH, query_GD @ model.match.query.weight.T)
    text_GCD = means(model, batch.title_UT)[batch.candidate_GC]
    torch.testing.assert_close(found.item_GCH, text_GCD @ model.match.item.weight[:, CF_WIDTH:].T)
    only = replace(batch, query_GQ=torch.where(batch.query_GQ == 0, 0, UNKNOWN))
    assert (model(model.inputs(only)).match.user_GH == 0).all()
    assert torch.isfinite(model.score(only)).all()


@torch.no_grad()
def test_weights_matter_to_scores() -> None:
    model, batch = weighing_model(), random_batch(5, groups=6)
    score_GC = model.score(batch)
    model.token_idf_V.fill_(1.0)
    assert (model.score(batch) - score_GC).abs().max() > 1e-6


@torch.no_grad()
def test_weights_in_fp32_go_with_a_model_in_bf16() -> None:
    """As training in bf16 has them: DeepSpeed leaves buffers as they are."""
    model, batch = weighing_model(), random_batch(5, groups=6)
    assert (batch.task_G == Behaviour.SEARCH).any()
    score_GC = model.score(batch)
    half = with_weights_in(model, torch.bfloat16)
    assert torch.equal(half.token_idf_V, torch.from_numpy(weights_of_tokens()))
    torch.testing.assert_close(half.score(batch), score_GC.float(), rtol=0.1, atol=0.1)


# Building and the folder.


def test_building_takes_the_weights_as_they_are_and_none_of_them_for_ones() -> None:
    weight_V = weights_of_tokens()
    torch.manual_seed(0)
    model = GenSR.build(tiny_config(), corpus_tokenizer(), CF_WIDTH, token_idf_V=weight_V)
    assert np.array_equal(model.token_idf_V.numpy(), weight_V)
    assert "token_idf_V" not in dict(model.named_parameters())
    assert not model.token_idf_V.requires_grad
    plain = GenSR.build(tiny_config(), corpus_tokenizer(), CF_WIDTH)
    assert torch.equal(plain.token_idf_V, torch.ones_like(plain.token_idf_V))
    assert plain.token_idf_V.shape == plain.token_embeddings().shape[:1]


def test_tokens_beyond_the_tokenizer_weigh_one() -> None:
    """Pretrained tables have rows that no tokenizer makes."""
    weight_V = weights_of_tokens()[:-5]
    model = GenSR.build(tiny_config(), corpus_tokenizer(), CF_WIDTH, token_idf_V=weight_V)
    assert np.array_equal(model.token_idf_V.numpy(), [*weight_V, *[1.0] * 5])


@torch.no_grad()
def test_a_saved_model_keeps_the_weights(tmp_path: Path) -> None:
    torch.manual_seed(0)
    weight_V = weights_of_tokens()
    saved = GenSR.build(tiny_config(), corpus_tokenizer(), CF_WIDTH, token_idf_V=weight_V).eval()
    saved.save_pretrained(tmp_path / "model", corpus_tokenizer())
    assert np.array_equal(load_file(tmp_path / "model" / "gensr.safetensors")["token_idf_V"].numpy(), weight_V)
    loaded = GenSR.from_pretrained(tmp_path / "model")
    assert np.array_equal(loaded.token_idf_V.numpy(), weight_V)
    batch = batch_with_unknown_titles()
    score_GC = saved.score(batch)
    assert torch.equal(loaded.score(batch), score_GC)
    loaded.token_idf_V.fill_(1.0)
    assert (loaded.score(batch) - score_GC).abs().max() > 1e-6
