"""One step: its update against PyG's LightGCN trained on edge_index, and what it allocates."""

import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch_geometric.nn.models import LightGCN

from gensr_dist.graph import recall as recall_module
from gensr_dist.graph import trainer as trainer_module
from gensr_dist.graph.batches import EdgeBatches
from gensr_dist.graph.config import LightGCNConfig
from gensr_dist.graph.edges import Edges
from gensr_dist.graph.ranks import ColumnRanks
from gensr_dist.graph.recall import CatalogueRecall
from gensr_dist.graph.trainer import ColumnTrainer

CPU = ColumnRanks(0, 1, torch.device("cpu"))


def random_edges(users: int, items: int, count: int, seed: int = 0) -> Edges:
    key_Z = np.unique(np.random.default_rng(seed).integers(0, users * items, count))
    return Edges(key_Z=key_Z, users=users, items=items)


@settings(max_examples=15)
@given(
    st.integers(0, 3),
    st.sampled_from([0.0, 1e-3, 0.5]),
    st.sampled_from([3, 7, 1_000]),
    st.integers(0, 5),
)
def test_steps_equal_stock_pyg(layers, l2, at_once, seed):
    edges = random_edges(20, 15, 120, seed)
    config = LightGCNConfig(width=6, layers=layers, l2=l2, batch=25, learning_rate=0.05)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer_module, "EDGES_AT_ONCE", at_once)
        trainer = ColumnTrainer(edges, config, seed, CPU)
        stock = LightGCN(35, 6, layers)
        stock.embedding.weight.data.copy_(trainer.weight_Ne)
        optimizer = torch.optim.Adam(stock.parameters(), lr=0.05)
        user, item = torch.from_numpy(edges.user_Z), torch.from_numpy(edges.item_Z) + 20
        edge_index = torch.stack([torch.cat([user, item]), torch.cat([item, user])])
        for batch in EdgeBatches(edges, 25, seed).epoch(1):
            loss = trainer.step(*batch)
            user_B, positive_B, negative_B = (torch.from_numpy(part) for part in batch)
            pairs = torch.stack([user_B.repeat(2), torch.cat([positive_B, negative_B]) + 20])
            positive, negative = stock(edge_index, pairs).chunk(2)
            nodes = torch.cat([user_B, positive_B + 20, negative_B + 20])
            expected = stock.recommendation_loss(positive, negative, node_id=nodes, lambda_reg=l2)
            optimizer.zero_grad()
            expected.backward()
            optimizer.step()
            assert loss == pytest.approx(float(expected.detach()), rel=1e-5)
    # Adam divides by the root of a gradient's square, so rounding of a tiny gradient is not tiny in its step.
    torch.testing.assert_close(trainer.weight_Ne.data, stock.embedding.weight.data, atol=2e-4, rtol=1e-3)
    assert trainer.steps == EdgeBatches(edges, 25, seed).steps


class LargestTensor(TorchDispatchMode):
    """Remembers the most elements that any operation returned."""

    def __init__(self) -> None:
        super().__init__()
        self.numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor) and leaf.layout == torch.strided:
                self.numel = max(self.numel, leaf.numel())
        return result


def test_nothing_is_larger_than_a_table(monkeypatch):
    """Neither nodes x nodes nor users x items nor edges x width exists, in torch or in numpy."""
    monkeypatch.setattr(trainer_module, "EDGES_AT_ONCE", 512)
    monkeypatch.setattr(recall_module, "SCORES_AT_ONCE", 20_000)
    users, items, width = 1_501, 4_003, 4
    train, valid = random_edges(users, items, 40_000), random_edges(users, items, 3_000, seed=1)
    config = LightGCNConfig(width=width, layers=2, batch=20_000)
    table = (users + items) * width
    tracemalloc.start()
    with LargestTensor() as largest:
        trainer = ColumnTrainer(train, config, 0, CPU)
        for batch in EdgeBatches(train, config.batch, 0).epoch(1):
            trainer.step(*batch)
        CatalogueRecall(train, valid, 0, CPU)(trainer.propagated())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert table < largest.numel <= 2 * len(train)  # the adjacency's entries, of which no operation makes vectors
    assert peak < 12 * 8 * len(train) < users * items  # bytes: a dozen arrays of edges


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_gpu_step_equals_cpu_step():
    edges = random_edges(50, 80, 600)
    config = LightGCNConfig(width=16, batch=100)
    trainers = [ColumnTrainer(edges, config, 0, ranks) for ranks in (CPU, ColumnRanks(0, 1, torch.device("cuda", 0)))]
    for batch in EdgeBatches(edges, 100, 0).epoch(1):
        on_cpu, on_gpu = (trainer.step(*batch) for trainer in trainers)
        assert on_gpu == pytest.approx(on_cpu, rel=1e-5)
    torch.testing.assert_close(trainers[1].propagated().cpu(), trainers[0].propagated(), atol=1e-4, rtol=1e-3)
