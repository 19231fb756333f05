"""Batches made in memory."""

import dataclasses

import pytest
import torch

from gensr_dist.bench.synthetic import BatchShape, synthetic_batch, word_tokenizer
from gensr_dist.data.events import Behaviour
from gensr_dist.model.config import PromptConfig

SHAPE = BatchShape(groups=200, candidates=5, vocabulary=300)


def test_lengths_are_those_of_the_log() -> None:
    batch = synthetic_batch(SHAPE, 0)
    length_G = (batch.history_GL != 0).sum(1)
    assert length_G.float().mean().item() == pytest.approx(5.73, abs=0.1)
    assert (length_G == 0).float().mean().item() == pytest.approx(0.145, abs=0.01)
    assert (length_G == 20).float().mean().item() == pytest.approx(0.0985, abs=0.01)
    assert (batch.title_UT[1:] != 0).sum(1).float().mean().item() == pytest.approx(17.2, abs=0.5)
    is_search_G = batch.task_G == Behaviour.SEARCH
    assert int(is_search_G.sum()) == 100
    query_length_G = (batch.query_GQ != 0).sum(1)
    assert query_length_G[is_search_G].float().mean().item() == pytest.approx(5.7, abs=0.5)
    assert (query_length_G[~is_search_G] == 0).all()


@pytest.mark.parametrize("groups", [1, 2, 7])
def test_batches_differ_and_cost_alike(groups: int) -> None:
    shape = dataclasses.replace(SHAPE, groups=groups)
    one, again, other = (synthetic_batch(shape, seed) for seed in (1, 1, 2))
    assert torch.equal(one.title_UT, again.title_UT)
    assert one.title_UT.shape == other.title_UT.shape
    assert not torch.equal(one.title_UT, other.title_UT)
    lengths = [(batch.history_GL != 0).sum(1).sort().values for batch in (one, other)]
    assert torch.equal(*lengths)


@pytest.mark.parametrize("lengths", ["log", "full"])
def test_a_batch_is_whole(lengths: str) -> None:
    batch = synthetic_batch(dataclasses.replace(SHAPE, groups=9, lengths=lengths), 3)
    items = len(batch.item_U)
    used = torch.cat([batch.history_GL.flatten(), batch.candidate_GC.flatten()]).unique()
    assert used.tolist() == list(range(0 if lengths == "log" else 1, items))
    assert torch.equal(batch.history_GL != 0, batch.behaviour_GL != 0)
    assert (batch.cf_UE[0] == 0).all()
    assert (batch.title_UT[0] == 0).all()
    assert batch.label_GC.sum(1).tolist() == [1] * 9
    for tokens in (batch.title_UT, batch.query_GQ):
        assert int(tokens.max()) < 300
    if lengths == "full":
        assert (batch.history_GL != 0).all()
        assert (batch.title_UT[1:] != 0).all()


def test_the_tokenizer_has_exactly_the_vocabulary_and_knows_the_prompts() -> None:
    tokenizer = word_tokenizer(300)
    assert len(tokenizer) == 300
    assert max(tokenizer.vocabulary.values()) == 299
    assert tokenizer.special_tokens[0] == "<pad>"
    text = PromptConfig().recommendation.format(history_cf="", history_text="", item_cf="", item_text="") + " Yes No"
    ids = tokenizer.encode(text)
    assert len(ids) == len(text.split())
    assert tokenizer.vocabulary["<unk>"] not in ids
