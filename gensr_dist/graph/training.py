"""LightGCN training: BPR over recommendation training events (footnote 1 of the paper), early stopping on recall.

Dimensions: Z edges, B edges of a step, V users, I items, N = V + I nodes (users first), E width.
"""

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import embedding
from torch_geometric.nn.models.lightgcn import BPRLoss
from tqdm import tqdm

from gensr_dist.data.splits import Split
from gensr_dist.data.timelines import Timelines
from gensr_dist.errors import InputError
from gensr_dist.graph.config import LightGCNConfig
from gensr_dist.graph.edges import Edges
from gensr_dist.graph.lightgcn import SymmetricLightGCN, normalised_adjacency
from gensr_dist.graph.recall import CatalogueRecall
from gensr_dist.graph.vectors import save_cf

INIT_STD = (
    0.1  # of the LightGCN authors' code; Xavier's range for so tall a table is ten times smaller and starts slowly
)


class ScalarWriter(Protocol):
    """What we need of a TensorBoard `SummaryWriter`."""

    def add_scalar(self, tag: str, scalar_value: float, global_step: int) -> None:
        """Record one value."""


@dataclass(frozen=True, kw_only=True)
class LightGCNResult:
    """What LightGCN training did."""

    epochs: int
    best_epoch: int  # whose vectors were kept
    recall_at_20: float | None  # of that epoch; None where no validation event can be used
    recall_curve: tuple[tuple[int, float], ...]  # (epoch, recall@20)
    users: int
    items: int
    edges: int
    untouched_users: int  # without a training edge; their vector is zero
    untouched_items: int
    validated_users: int
    seconds: float


def train_lightgcn(
    timelines: Timelines,
    users: int,
    items: int,
    config: LightGCNConfig,
    seed: int,
    folder: Path,
    writer: ScalarWriter | None = None,
) -> LightGCNResult:
    """Train LightGCN and write `items.npy` [I, E], `users.npy` [V, E] and `lightgcn.json` to `folder`, all or none.

    The kept vectors are those of the epoch with the best recall@20 or, without validation events, of the last epoch.
    The same seed gives the same vectors on the same machine with the same number of threads.

    Args:
        timelines: all events; positive recommendation events of the training split become edges, those of the
            validation split decide when to stop, and nothing else is looked at.
        users: number of users V.
        items: number of items I.
        config: settings.
        seed: of the first vectors, the order of edges and the negatives.
        folder: receives the files.
        writer: receives loss and recall, if given.

    Raises:
        InputError: there is no training edge, or the loss is not finite.
    """
    started = time.perf_counter()
    train = Edges.of_recommendations(timelines, Split.TRAIN, users=users, items=items)
    if not len(train):
        raise InputError(
            "lightgcn",
            "the training split has no positive recommendation event, so there is no graph to train on",
            "check data.split and the recommendation log of the source",
        )
    valid = Edges.of_recommendations(timelines, Split.VALID, users=users, items=items)
    recall = CatalogueRecall(train, valid, seed)
    trainer = _Trainer(train, config, seed)

    curve: list[tuple[int, float]] = []
    best_epoch, best_recall, best_NE = 0, -1.0, None
    for epoch in (progress := tqdm(range(1, config.epochs + 1), desc="lightgcn", unit="epoch", disable=None)):
        loss = trainer.epoch(epoch)
        if writer:
            writer.add_scalar("lightgcn/loss", loss, epoch)
        progress.set_postfix(loss=f"{loss:.4f}", best=f"{best_recall:.4f}" if curve else "-")
        if not len(recall.user_S) or (epoch % config.validate_every and epoch < config.epochs):
            continue
        out_NE = trainer.vectors()
        value = recall(out_NE)
        curve.append((epoch, value))
        if writer:
            writer.add_scalar("lightgcn/recall@20", value, epoch)
        if value > best_recall:
            best_epoch, best_recall, best_NE = epoch, value, out_NE
        elif sum(past > best_epoch for past, _ in curve) >= config.patience:
            break
    if best_NE is None:
        best_epoch, best_NE = epoch, trainer.vectors()

    touched_N = np.zeros(users + items, dtype=bool)
    touched_N[train.user_Z] = touched_N[users + train.item_Z] = True
    vector_NE = np.where(touched_N[:, None], best_NE.cpu().numpy(), 0)  # else it would be the noise of the start
    result = LightGCNResult(
        epochs=epoch,
        best_epoch=best_epoch,
        recall_at_20=best_recall if curve else None,
        recall_curve=tuple(curve),
        users=users,
        items=items,
        edges=len(train),
        untouched_users=int((~touched_N[:users]).sum()),
        untouched_items=int((~touched_N[users:]).sum()),
        validated_users=len(recall.user_S),
        seconds=round(time.perf_counter() - started, 2),
    )
    record = {"settings": asdict(config), "seed": seed, "result": asdict(result)}
    save_cf(folder, vector_NE[users:], vector_NE[:users], record)
    return result


class _Trainer:
    """Model, optimizer and graph; each step propagates over the full graph and takes one negative an edge."""

    def __init__(self, train: Edges, config: LightGCNConfig, seed: int) -> None:
        self.train, self.config, self.seed = train, config, seed
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        graph = normalised_adjacency(train.user_Z, train.item_Z, users=train.users, items=train.items)
        self.adjacency_NN = graph.to(self.device)
        self.model = SymmetricLightGCN(train.users + train.items, config.width, config.layers)
        generator = torch.Generator().manual_seed(seed)
        torch.nn.init.normal_(self.model.embedding.weight, std=INIT_STD, generator=generator)
        self.model.to(self.device)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=config.learning_rate)
        self.bpr = BPRLoss(config.l2)
        degree_V = np.bincount(train.user_Z, minlength=train.users)
        self.key_Z = train.key_Z[degree_V[train.user_Z] < train.items]  # who met every item has no negative

    @torch.no_grad()
    def vectors(self) -> Tensor:
        """Propagated vectors [N, E]."""
        vector_NE: Tensor = self.model.get_embedding(self.adjacency_NN)
        return vector_NE

    def epoch(self, epoch: int) -> float:
        """See every edge once, in an order and with negatives that depend on (seed, epoch); the mean loss."""
        loss = float(np.mean([self._step(*batch) for batch in self._batches(epoch)] or [0.0]))
        if not np.isfinite(loss):
            raise InputError(
                "lightgcn.learning_rate", f"the loss is {loss} in epoch {epoch}", "lower the learning rate"
            )
        return loss

    def _batches(self, epoch: int) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """User, positive item and negative item of each edge, [B] each."""
        rng = np.random.default_rng([self.seed, 0, epoch])
        key_Z = rng.permutation(self.key_Z)
        for start in range(0, len(key_Z), self.config.batch):
            user_B, item_B = np.divmod(key_Z[start : start + self.config.batch], self.train.items)
            yield user_B, item_B, self.train.sample_negatives(user_B, rng)

    def _step(self, user_B: np.ndarray, positive_B: np.ndarray, negative_B: np.ndarray) -> float:
        """One update; the loss before it."""
        node_3B = torch.from_numpy(np.stack([user_B, positive_B + self.train.users, negative_B + self.train.users]))
        node_3B = node_3B.to(self.device)
        out_NE = self.model.get_embedding(self.adjacency_NN)
        # embedding() rather than an index: on the CPU its backward adds rows much faster
        user_BE, positive_BE, negative_BE = embedding(node_3B, out_NE).unbind(0)
        start_KE = embedding(node_3B.flatten(), self.model.embedding.weight)
        loss = self.bpr((user_BE * positive_BE).sum(-1), (user_BE * negative_BE).sum(-1), start_KE)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return float(loss.detach())
