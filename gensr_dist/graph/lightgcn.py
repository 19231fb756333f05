"""What LightGCN (He et al. 2020) propagates: vectors over a symmetric-normalised CSR adjacency.

Dimensions: N nodes (users first, then items), E width, Z edges (distinct user-item pairs), V users, I items.
"""

import warnings

import numpy as np
import torch
from torch import Tensor

from gensr_dist.graph.edges import Edges


def normalised_adjacency(edges: Edges) -> Tensor:
    """D^-1/2 A D^-1/2 of the bipartite graph.

    Returns:
        Sparse CSR float32 [V + I, V + I] of 2 Z entries; a node without edges has an empty row. Indices are int32
        where they fit: MKL takes no others, and torch converts them at each product.
    """
    users, items = edges.users, edges.items
    nodes, entries = users + items, 2 * len(edges)
    index = np.int32 if max(nodes, entries) < 2**31 else np.int64
    user_Z, item_Z = edges.user_Z, edges.item_Z
    degree_N = np.concatenate([np.bincount(user_Z, minlength=users), np.bincount(item_Z, minlength=items)])
    scale_N = 1.0 / np.sqrt(np.maximum(degree_N, 1))
    column = np.empty(entries, dtype=index)
    value = np.empty(entries, dtype=np.float32)

    np.add(item_Z, users, out=column[: len(edges)], casting="same_kind")
    np.multiply(scale_N[user_Z], scale_N[users + item_Z], out=value[: len(edges)], casting="same_kind")
    key_Z = item_Z * users + user_Z
    del user_Z, item_Z
    key_Z.sort()  # by item, then user: the transposed half
    column[len(edges) :] = key_Z % users
    np.multiply(scale_N[key_Z % users], scale_N[users + key_Z // users], out=value[len(edges) :], casting="same_kind")
    del key_Z

    row_start = np.zeros(nodes + 1, dtype=index)
    np.cumsum(degree_N, out=row_start[1:])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
        return torch.sparse_csr_tensor(
            torch.from_numpy(row_start),
            torch.from_numpy(column),
            torch.from_numpy(value),
            size=(nodes, nodes),
            check_invariants=True,
        )


def layer_mean(x_NE: Tensor, adjacency_NN: Tensor, layers: int, buffers: tuple[Tensor, Tensor] | None = None) -> Tensor:
    """1 / (K + 1) * sum of A^k x over k = 0..K, in Horner form: one sparse product a layer, no list of layers.

    It is its own backward: a polynomial of a symmetric matrix is symmetric. Autograd's own backward of a CSR product
    transposes the matrix each time and takes most of a step.

    Args:
        x_NE: vectors; left as they are.
        adjacency_NN: normalised adjacency, sparse CSR.
        layers: K.
        buffers: two tensors [N, E] to work in, one of which is returned. On the CPU a product into memory that is
            already mapped takes a third of the time of one into fresh memory.
    """
    sum_NE = x_NE
    for layer in range(layers):
        if buffers is None:
            sum_NE = torch.addmm(x_NE, adjacency_NN, sum_NE)
        else:
            sum_NE = torch.addmm(x_NE, adjacency_NN, sum_NE, out=buffers[layer % 2])
    return sum_NE.div_(layers + 1) if layers else x_NE.clone()
