"""Whether our training of LightGCN reaches the recall of stock PyG's: same settings, draws of their own, some seeds.

Dimensions: N nodes (users first), E width.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch_geometric.nn.models import LightGCN
from tqdm import tqdm

from gensr_dist.graph.batches import EdgeBatches
from gensr_dist.graph.config import LightGCNConfig
from gensr_dist.graph.edges import Edges
from gensr_dist.graph.ranks import ColumnRanks
from gensr_dist.graph.recall import CatalogueRecall
from gensr_dist.graph.trainer import INIT_STD, ColumnTrainer

_STOCK = 1_000_003  # added to a seed, so that both trainings draw apart


@dataclass(frozen=True, kw_only=True)
class QualityComparison:
    """Recall@20 after the last epoch, one value a seed."""

    ours: tuple[float, ...]
    stock: tuple[float, ...]
    ours_seconds: float  # of training, all seeds
    stock_seconds: float

    @property
    def difference(self) -> float:
        """Mean of ours minus mean of stock."""
        return statistics.fmean(self.ours) - statistics.fmean(self.stock)

    @property
    def noise(self) -> float:
        """Standard error of the difference, from the spread of the seeds."""
        variances = (statistics.variance(values) / len(values) for values in (self.ours, self.stock))
        return sum(variances) ** 0.5


def compare_quality(train: Edges, valid: Edges, config: LightGCNConfig, seeds: Sequence[int]) -> QualityComparison:
    """Train both for `config.epochs`, without early stopping.

    Stock is `LightGCN(edge_index)` with its `recommendation_loss` and torch's Adam. First vectors, order and negatives
    follow the same laws in both but are drawn apart.

    Args:
        train: training edges.
        valid: edges whose recall is measured, for the same users of every training.
        config: settings of both.
        seeds: two or more.
    """
    recall = CatalogueRecall(train, valid, 0, ColumnRanks())
    ours, stock = [], []
    ours_seconds = stock_seconds = 0.0
    for seed in seeds:
        trainer = ColumnTrainer(train, config, seed, ColumnRanks())
        ours_seconds += _epochs(
            f"ours, seed {seed}", EdgeBatches(train, config.batch, seed), config.epochs, trainer.step
        )
        ours.append(recall(trainer.propagated()))
        reference = _StockTraining(train, config, seed + _STOCK)
        batches = EdgeBatches(train, config.batch, seed + _STOCK)
        stock_seconds += _epochs(f"stock, seed {seed}", batches, config.epochs, reference.step)
        stock.append(recall(reference.propagated()))
    return QualityComparison(
        ours=tuple(ours), stock=tuple(stock), ours_seconds=ours_seconds, stock_seconds=stock_seconds
    )


def _epochs(
    name: str, batches: EdgeBatches, epochs: int, step: Callable[[np.ndarray, np.ndarray, np.ndarray], float]
) -> float:
    """Train; seconds."""
    began = time.monotonic()
    with tqdm(desc=name, total=epochs * batches.steps, unit="step", disable=None) as bar:
        for epoch in range(1, epochs + 1):
            for batch in batches.epoch(epoch):
                step(*batch)
                bar.update()
    return round(time.monotonic() - began, 1)


class _StockTraining:
    def __init__(self, train: Edges, config: LightGCNConfig, seed: int) -> None:
        self.users, self.l2, self.device = train.users, config.l2, ColumnRanks().device
        user_Z, item_Z = torch.from_numpy(train.user_Z), torch.from_numpy(train.item_Z) + train.users
        edge_index = torch.cat([torch.stack([user_Z, item_Z]), torch.stack([item_Z, user_Z])], dim=1)
        self.edge_index = edge_index.to(self.device)
        self.model = LightGCN(train.users + train.items, config.width, config.layers)
        generator = torch.Generator().manual_seed(seed)
        torch.nn.init.normal_(self.model.embedding.weight, std=INIT_STD, generator=generator)
        self.model.to(self.device)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=config.learning_rate)

    def step(self, user_B: np.ndarray, positive_B: np.ndarray, negative_B: np.ndarray) -> float:
        node_3B = torch.from_numpy(np.stack([user_B, positive_B + self.users, negative_B + self.users]))
        user, positive, negative = node_3B.to(self.device)
        pairs = torch.stack([user.repeat(2), torch.cat([positive, negative])])
        score, other_score = self.model(self.edge_index, pairs).chunk(2)
        loss = self.model.recommendation_loss(
            score, other_score, node_id=torch.cat([user, positive, negative]), lambda_reg=self.l2
        )
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return float(loss.detach())

    @torch.no_grad()
    def propagated(self) -> Tensor:
        """Propagated vectors [N, E]."""
        vector_NE: Tensor = self.model.get_embedding(self.edge_index)
        return vector_NE
