"""SimGCL against its equations in float64.

Dimensions: N nodes (users first), D width, G groups, C candidates.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch

from gensr_dist.baselines.contract import LogFacts
from gensr_dist.baselines.models.simgcl import SimGCL
from gensr_dist.data.events import Behaviour
from gensr_dist.data.items import ItemStore
from gensr_dist.data.shards.store import TimelineStore
from tests.baselines.builders import batch_of, context_collator, rows_of, scores, small_facts, small_model

LAYERS = 2


@pytest.fixture(scope="module")
def facts(small_store: TimelineStore, small_items: ItemStore, small_cf: np.ndarray) -> LogFacts:
    return small_facts(small_store, small_items, small_cf)


def made(facts: LogFacts) -> SimGCL:
    model = small_model("simgcl", facts, layers=LAYERS)
    assert isinstance(model, SimGCL)
    return model


def expected_layers(model: SimGCL, facts: LogFacts) -> list[np.ndarray]:
    """h^1 to h^K by loops over the edges."""
    edges = facts.edges()
    pairs = list(zip(edges.user_Z.tolist(), (edges.item_Z + facts.users).tolist(), strict=True))
    degree_N = np.zeros(facts.users + facts.items)
    for user, item in pairs:
        degree_N[[user, item]] += 1
    h_ND = model.node_ND.detach().double().numpy()
    layers = []
    for _ in range(LAYERS):
        next_ND = np.zeros_like(h_ND)
        for user, item in pairs:
            weight = (degree_N[user] * degree_N[item]) ** -0.5
            next_ND[user] += weight * h_ND[item]
            next_ND[item] += weight * h_ND[user]
        h_ND = next_ND
        layers.append(h_ND)
    return layers


def test_nodes_are_the_mean_of_the_layers_behind_the_first(facts: LogFacts) -> None:
    model = made(facts)
    with torch.no_grad():
        found_ND = model.propagated()
    np.testing.assert_allclose(found_ND.numpy(), np.mean(expected_layers(model, facts), axis=0), rtol=1e-4, atol=1e-5)


def test_gradients_are_those_of_the_propagation(facts: LogFacts) -> None:
    model = made(facts)
    way_ND = torch.randn(model.node_ND.shape, generator=torch.Generator().manual_seed(1))
    (model.propagated() * way_ND).sum().backward()
    dense_NN = model._adjacency_NN.to_dense()
    node_ND = model.node_ND.detach().clone().requires_grad_()
    ((dense_NN @ node_ND + dense_NN @ (dense_NN @ node_ND)) / 2 * way_ND).sum().backward()
    torch.testing.assert_close(model.node_ND.grad, node_ND.grad, rtol=1e-4, atol=1e-5)


def test_noise_has_its_length_and_keeps_signs(facts: LogFacts) -> None:
    model = small_model("simgcl", facts, layers=1)
    assert isinstance(model, SimGCL)
    with torch.no_grad():
        plain_ND = model.propagated()
        noisy_ND = model.propagated(noise=0.3)
    (touched_N,) = plain_ND.abs().sum(1).nonzero(as_tuple=True)
    noise_ND = (noisy_ND - plain_ND)[touched_N]
    torch.testing.assert_close(noise_ND.norm(dim=1), torch.full((len(touched_N),), 0.3))
    assert (noise_ND * plain_ND[touched_N] >= 0).all()


def test_scores_are_dot_products_and_unknown_users_have_none(
    facts: LogFacts, small_store: TimelineStore, small_items: ItemStore, small_cf: np.ndarray
) -> None:
    model = made(facts)
    rows = rows_of(small_store, Behaviour.RECOMMENDATION, 6)
    batch = batch_of(context_collator(small_store, small_items, small_cf), rows)
    node_ND = np.mean(expected_layers(model, facts), axis=0)
    expected = np.einsum("gd,gcd->gc", node_ND[rows.user_R], node_ND[facts.users + rows.candidate_RC])
    np.testing.assert_allclose(scores(model, batch).numpy(), expected, rtol=1e-3, atol=1e-4)
    assert not scores(model, replace(batch, user_G=torch.full_like(batch.user_G, -1))).any()


def test_what_was_propagated_is_forgotten_when_weights_may_change(
    facts: LogFacts, small_store: TimelineStore, small_items: ItemStore, small_cf: np.ndarray
) -> None:
    model = made(facts)
    rows = rows_of(small_store, Behaviour.RECOMMENDATION, 2)
    batch = batch_of(context_collator(small_store, small_items, small_cf), rows)
    before = scores(model, batch)
    with torch.no_grad():
        model.train().node_ND.mul_(2.0)
    torch.testing.assert_close(scores(model.eval(), batch), 4 * before)
