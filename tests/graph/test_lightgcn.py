"""Propagation against dense float64 algebra and against PyG's own edge_index path."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_geometric.nn.models import LightGCN

from gensr_dist.graph.edges import Edges
from gensr_dist.graph.lightgcn import SymmetricLightGCN, layer_mean, normalised_adjacency


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
def test_propagation_and_gradient_equal_dense_float64(graph, layers):
    user_Z, item_Z, users, items = graph
    model = SymmetricLightGCN(users + items, 5, layers)
    weight = torch.randn(5, generator=torch.Generator().manual_seed(1))
    out_NE = model.get_embedding(normalised_adjacency(edges_of(user_Z, item_Z, users, items)))
    ((out_NE @ weight) ** 3).sum().backward()

    adjacency = torch.from_numpy(dense_adjacency(user_Z, item_Z, users, items))
    x_NE = model.embedding.weight.detach().double().requires_grad_()
    powers = [x_NE]
    for _ in range(layers):
        powers.append(adjacency @ powers[-1])
    expected_NE = torch.stack(powers).mean(0)
    ((expected_NE @ weight.double()) ** 3).sum().backward()

    np.testing.assert_allclose(out_NE.detach().numpy(), expected_NE.detach().numpy(), atol=1e-6)
    np.testing.assert_allclose(model.embedding.weight.grad.numpy(), x_NE.grad.numpy(), atol=1e-5, rtol=1e-4)


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
    ours = SymmetricLightGCN(users + items, 8, layers)
    stock = LightGCN(users + items, 8, layers)
    sparse = LightGCN(users + items, 8, layers, normalize=False)
    stock.load_state_dict(ours.state_dict())
    sparse.load_state_dict(ours.state_dict())
    both = np.stack([np.concatenate([user_Z, item_Z + users]), np.concatenate([item_Z + users, user_Z])])
    edge_index = torch.from_numpy(both)
    expected = stock.get_embedding(edge_index)
    torch.testing.assert_close(ours.get_embedding(adjacency), expected, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(sparse.get_embedding(adjacency), expected, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(ours(adjacency, edge_index), stock(edge_index), atol=1e-6, rtol=1e-5)


def test_backward_accepts_gradients_that_are_not_contiguous():
    adjacency = normalised_adjacency(edges_of([0, 1], [0, 0], 2, 2))
    model = SymmetricLightGCN(4, 3, 2)
    gradient = torch.randn(3, 4).T
    model.get_embedding(adjacency).backward(gradient)
    torch.testing.assert_close(model.embedding.weight.grad, layer_mean(gradient.contiguous(), adjacency, 2))
