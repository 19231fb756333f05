"""The numbers of queries reach the candidates of searches and no others, those of histories all of them."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from gensr_dist.data.batches.batch import HISTORY_FEATURES, Batch
from gensr_dist.data.events import Behaviour
from gensr_dist.model.evidence import EvidenceEncoder
from gensr_dist.model.gensr import GenSR
from tests.model.builders import random_batch, texts_told, tiny_model


def test_is_two_layers_over_the_features() -> None:
    torch.manual_seed(0)
    encoder = EvidenceEncoder([True, False, True], 6).double()
    evidence_XF = torch.rand(2, 5, 3, dtype=torch.float64)
    first, _, second = encoder.layers
    hidden = torch.nn.functional.gelu(evidence_XF[..., [0, 2]] @ first.weight[:, [0, 2]].T + first.bias)
    torch.testing.assert_close(encoder(evidence_XF), hidden @ second.weight.T + second.bias)


@torch.no_grad()
def test_candidates_of_searches_are_told_and_no_others() -> None:
    model, batch = tiny_model(term_match=False).double(), random_batch(5, groups=8, candidates=3)
    assert model.query_evidence is not None
    expected_GCD = model.item_semantic(batch.title_UT)[batch.candidate_GC]
    searching_G = (batch.task_G == Behaviour.SEARCH) & batch.query_GQ.any(1)
    assert 1 < int(searching_G.sum()) < 8
    expected_GCD[searching_G] += model.query_evidence(batch.query_evidence_GCF[searching_G].double())
    torch.testing.assert_close(texts_told(model, batch), expected_GCD)


def test_with_and_without_searches_the_same_weights_have_gradients() -> None:
    model, mixed = tiny_model(), random_batch(5, groups=4)
    assert model.query_evidence is not None
    for task_G, searches in ((mixed.task_G, True), (torch.zeros_like(mixed.task_G), False)):
        model.zero_grad()
        model(model.inputs(replace(mixed, task_G=task_G))).nll_GC.sum().backward()
        for weight in model.query_evidence.parameters():
            assert weight.grad is not None
            assert bool((weight.grad != 0).any()) is searches


@pytest.mark.parametrize("kind", ["query_evidence", "history_evidence"])
def test_without_it_there_are_none_of_its_weights(kind: str) -> None:
    assert [name for name in tiny_model().state_dict() if name.startswith(kind)]
    assert not [name for name in tiny_model(**{kind: False}).state_dict() if name.startswith(kind)]


def scored(model: GenSR, batch: Batch, features: list[int]) -> Tensor:
    """Log-odds where some features of histories are other ones."""
    evidence_GCF = batch.history_evidence_GCF.clone()
    evidence_GCF[..., features] = torch.rand(*evidence_GCF.shape[:2], len(features), dtype=evidence_GCF.dtype)
    other = replace(batch, history_evidence_GCF=evidence_GCF)
    return model(model.inputs(other)).yes_log_odds_GC


@pytest.mark.parametrize(
    ("hidden", "deaf", "heard"),
    [
        ({}, [], range(HISTORY_FEATURES)),
        ({"cf_view": False}, [0, 1, 2], [3, 6]),
        ({"semantic_view": False}, [3, 4, 5], [0, 6]),
    ],
)
@torch.no_grad()
def test_candidates_of_both_tasks_are_told_of_their_histories(
    hidden: dict[str, bool], deaf: list[int], heard: Sequence[int]
) -> None:
    torch.manual_seed(0)
    model, batch = tiny_model(**hidden).double(), random_batch(5, groups=8, candidates=3)
    told_GC = model(model.inputs(batch)).yes_log_odds_GC
    assert torch.equal(scored(model, batch, deaf), told_GC)
    for feature in heard:
        assert (scored(model, batch, [feature]) != told_GC).all()
