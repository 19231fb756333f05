"""Propagation against dense float64 algebra and against PyG's own edge_index path."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_geometric.nn.models import LightGCN

from gensr_dist.graph.edges import Edges
from gensr_dist.graph.lightgcn import layer_mean, normalised_adjacency


def dense_adjacency(user_Z, item_Z, users, items):
    adjacency = np.zeros((users + items, users + items))
    adjacency[user_Z, item_Z + users] = adjacency[item_Z + users, user_Z] = 1
    degree = adjacency.sum(1)
    scale = np.where(degree > 0, 1 / np.sqrt(np.maximum(degree, 1)), 0)
    return scale[:, None] * adjacency * scale


def dense_layer_mean(x, adjacency, layers):
    return sum(np.linalg.matrix_power(adjacency, k) @ x for k in range(layers + 1)) / (layers + 1)


def edges_of(user_Z, item_Z, users, items):
    return Edges(key_Z=np.unique(np.asarray(user_Z) * items + item_Z), users=users, items=items)


@st.composite
def graphs(draw):
    users, items = draw(st.integers(1, 7)), draw(st.integers(1, 7))
    pairs = st.tuples(st.integers(0, users - 1), st.integers(0, items - 1))
    user_Z, item_Z = np.array(draw(st.lists(pairs, min_size=1, max_size=30))).T
    return user_Z, item_Z, users, items


@settings(max_examples=60)
@given(graphs(), st.integers(0, 4))
def test_propagation_equals_dense_float64(graph, layers):
    user_Z, item_Z, users, items = graph
    x_NE = torch.randn(users + items, 5, generator=torch.Generator().manual_seed(1))
    out_NE = layer_mean(x_NE, normalised_adjacency(edges_of(user_Z, item_Z, users, items)), layers)
    expected_NE = dense_layer_mean(x_NE.double().numpy(), dense_adjacency(user_Z, item_Z, users, items), layers)
    np.testing.assert_allclose(out_NE.numpy(), expected_NE, atol=1e-6)


@settings(max_examples=30)
@given(graphs())
def test_adjacency_is_symmetric_and_normalised(graph):
    user_Z, item_Z, users, items = graph
    adjacency = normalised_adjacency(edges_of(user_Z, item_Z, users, items))
    dense = adjacency.to_dense().numpy()
    np.testing.assert_array_equal(dense, dense.T)
    np.testing.assert_allclose(dense, dense_adjacency(user_Z, item_Z, users, items), atol=1e-7)


@pytest.mark.parametrize("layers", [0, 1, 3])
def test_equals_pyg_on_edge_index_and_on_csr(layers):
    rng = np.random.default_rng(0)
    users, items = 30, 20
    key = rng.choice(users * items, 150, replace=False)
    user_Z, item_Z = key // items, key % items
    adjacency = normalised_adjacency(edges_of(user_Z, item_Z, users, items))
    stock = LightGCN(users + items, 8, layers)
    sparse = LightGCN(users + items, 8, layers, normalize=False)
    sparse.load_state_dict(stock.state_dict())
    both = np.stack([np.concatenate([user_Z, item_Z + users]), np.concatenate([item_Z + users, user_Z])])
    expected = stock.get_embedding(torch.from_numpy(both))
    weight_NE = stock.embedding.weight.detach()
    ours = layer_mean(weight_NE, adjacency, layers)
    torch.testing.assert_close(ours, expected.detach(), atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(sparse.get_embedding(adjacency), expected, atol=1e-6, rtol=1e-5)

    gradient = torch.randn(expected.shape, generator=torch.Generator().manual_seed(1))
    expected.backward(gradient)
    own_backward = layer_mean(gradient, adjacency, layers)
    torch.testing.assert_close(own_backward, stock.embedding.weight.grad, atol=1e-6, rtol=1e-5)
