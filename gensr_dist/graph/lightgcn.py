"""LightGCN (He et al. 2020): PyG's model over a symmetric-normalised CSR adjacency.

Dimensions: N nodes (users first, then items), E width, Z edges (distinct user-item pairs).
"""

import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch_geometric.nn.models import LightGCN
from typing_extensions import override


def normalised_adjacency(user_Z: np.ndarray, item_Z: np.ndarray, *, users: int, items: int) -> Tensor:
    """D^-1/2 A D^-1/2 of the bipartite graph; a pair that occurs twice is one edge.

    Args:
        user_Z: integer user rows.
        item_Z: integer item rows.
        users: number of users.
        items: number of items.

    Returns:
        Sparse CSR float32 [users + items, users + items]. A node without edges has an empty row.
    """
    nodes = users + items
    user, item = user_Z.astype(np.int64), item_Z.astype(np.int64) + users
    key = np.unique(np.concatenate([user * nodes + item, item * nodes + user]))
    row, column = key // nodes, key % nodes
    degree_N = np.bincount(row, minlength=nodes)
    value = 1.0 / np.sqrt(degree_N[row].astype(np.float64) * degree_N[column])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
        return torch.sparse_csr_tensor(
            torch.from_numpy(np.concatenate([[0], np.cumsum(degree_N)])),
            torch.from_numpy(column),
            torch.from_numpy(value.astype(np.float32)),
            size=(nodes, nodes),
            check_invariants=True,
        )


def layer_mean(x_NE: Tensor, adjacency_NN: Tensor, layers: int) -> Tensor:
    """1 / (K + 1) * sum of A^k x over k = 0..K, in Horner form: one sparse product a layer, no list of layers."""
    sum_NE = x_NE
    for _ in range(layers):
        sum_NE = torch.addmm(x_NE, adjacency_NN, sum_NE)
    return sum_NE / (layers + 1)


class _SymmetricLayerMean(torch.autograd.Function):
    """`layer_mean` whose backward is itself: a polynomial of a symmetric matrix is symmetric.

    Autograd's own backward of a CSR product transposes the matrix each time and takes most of a step.
    """

    @staticmethod
    def forward(ctx: Any, x_NE: Tensor, adjacency_NN: Tensor, layers: int) -> Tensor:
        ctx.adjacency_NN, ctx.layers = adjacency_NN, layers
        return layer_mean(x_NE, adjacency_NN, layers)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None, None]:
        return layer_mean(grad_outputs[0].contiguous(), ctx.adjacency_NN, ctx.layers), None, None


class SymmetricLightGCN(LightGCN):
    """PyG's LightGCN for an adjacency that is already normalised and symmetric (`normalised_adjacency`)."""

    def __init__(self, nodes: int, width: int, layers: int) -> None:
        super().__init__(nodes, width, layers, normalize=False)

    @override
    def get_embedding(self, edge_index: Tensor, edge_weight: None = None) -> Tensor:
        """Propagated vectors [N, E] of all nodes, alpha = 1 / (K + 1)."""
        return _SymmetricLayerMean.apply(self.embedding.weight, edge_index, self.num_layers)
