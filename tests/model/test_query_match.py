"""The numbers of query and candidate reach the candidates of searches, and no others."""

from dataclasses import replace

import torch

from gensr_dist.data.batches.batch import FEATURES
from gensr_dist.data.events import Behaviour
from gensr_dist.model.query_match import QueryMatch
from tests.model.builders import random_batch, texts_told, tiny_model


def test_is_two_layers_over_the_features() -> None:
    torch.manual_seed(0)
    match = QueryMatch(6).double()
    evidence_ZCF = torch.rand(2, 3, FEATURES, dtype=torch.float64)
    first, _, second = match.layers
    hidden = torch.nn.functional.gelu(evidence_ZCF @ first.weight.T + first.bias)
    torch.testing.assert_close(match(evidence_ZCF), hidden @ second.weight.T + second.bias)


@torch.no_grad()
def test_candidates_of_searches_are_told_and_no_others() -> None:
    model, batch = tiny_model(term_match=False).double(), random_batch(5, groups=8, candidates=3)
    assert model.query_match is not None
    expected_GCD = model.item_semantic(batch.title_UT)[batch.candidate_GC]
    searching_G = (batch.task_G == Behaviour.SEARCH) & batch.query_GQ.any(1)
    assert 1 < int(searching_G.sum()) < 8
    expected_GCD[searching_G] += model.query_match(batch.evidence_GCF[searching_G].double())
    torch.testing.assert_close(texts_told(model, batch), expected_GCD)


def test_with_and_without_searches_the_same_weights_have_gradients() -> None:
    model, mixed = tiny_model(), random_batch(5, groups=4)
    assert model.query_match is not None
    for task_G, searches in ((mixed.task_G, True), (torch.zeros_like(mixed.task_G), False)):
        model.zero_grad()
        model(model.inputs(replace(mixed, task_G=task_G))).nll_GC.sum().backward()
        for weight in model.query_match.parameters():
            assert weight.grad is not None
            assert bool((weight.grad != 0).any()) is searches


def test_without_it_there_are_none_of_its_weights() -> None:
    assert not [name for name in tiny_model(query_match=False).state_dict() if name.startswith("query_match")]
