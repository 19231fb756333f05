"""Seconds a step of LightGCN: stock PyG on `edge_index`, ours on one rank and ours on two, in one run.

Dimensions: Z edges, B edges of a step.
"""

import itertools
import statistics
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch_geometric.nn.models import LightGCN

from gensr_dist.bench.interleaved import RatioRange, Variant, Worker, cores, interleave, running
from gensr_dist.errors import InputError
from gensr_dist.graph.batches import EdgeBatches
from gensr_dist.graph.config import LightGCNConfig
from gensr_dist.graph.edges import Edges
from gensr_dist.graph.ranks import ColumnRanks
from gensr_dist.graph.trainer import ColumnTrainer

_SEED = 0
_WARM_UP = 2  # steps
Step = Callable[[], None]


@dataclass(frozen=True, kw_only=True)
class GraphSize:
    """A random graph and how LightGCN is trained on it."""

    users: int
    items: int
    edges: int  # distinct user-item pairs
    width: int = 64  # of the vectors, even
    layers: int = 3
    batch: int = 65_536  # edges a step

    @property
    def training(self) -> LightGCNConfig:
        """Settings of both trainings."""
        return LightGCNConfig(width=self.width, layers=self.layers, batch=self.batch)


@dataclass(frozen=True, kw_only=True)
class LightGCNBench(GraphSize):
    """What `gensr bench lightgcn` prints. Each variant runs in processes of its own on all cores together."""

    stock_s_per_step: float | None  # PyG's LightGCN on edge_index; None: not measured. Medians over rounds
    ours_s_per_step: float
    ours_2_ranks_s_per_step: float
    ratio: float | None  # stock / ours, median over rounds
    ratio_min: float | None
    ratio_max: float | None
    peak_gb: float  # 1e9 bytes of ours on one rank: of the GPU, or resident with the libraries
    peak_2_ranks_gb: float  # of the larger of both ranks
    idle_gb: float  # of a process that has only imported the libraries
    nodes: int
    rounds: int
    cores: int


def bench_lightgcn(size: GraphSize, *, rounds: int, stock: bool = True) -> LightGCNBench:
    """Train on a random graph; a round is one step of each variant.

    With `stock` all variants are interleaved, step by step, so that whatever else the machine does meets all of them.
    Without it, for graphs that fill the memory, each variant ends before the next begins.

    Args:
        size: of the graph and of the vectors.
        rounds: measured ones; two more warm up.
        stock: measure PyG too.

    Raises:
        InputError: there are no users or no items, or more edges than half of all pairs, which takes long to draw.
    """
    nodes = size.users + size.items
    if size.users < 1 or size.items < 1:
        problem = f"{size.users:,} of {nodes:,} nodes, expected 1 to {nodes - 1:,}"
        raise InputError("--users", problem, "lower it or raise --nodes")
    if 2 * size.edges > (pairs := size.users * size.items):
        raise InputError(
            "--edges",
            f"{size.edges:,} of the {pairs:,} pairs of {size.users:,} users and {size.items:,} items, expected at most "
            "half",
            "lower it or raise --nodes",
        )
    peak_gb: dict[Variant[GraphSize, Step], float] = {}
    ours, ours_2, pyg = Variant(_ours), Variant(_ours, world=2), Variant(_stock)
    for variants in [[pyg, ours, ours_2]] if stock else [[ours], [ours_2]]:
        with running(variants, size):
            for _ in range(_WARM_UP):
                for variant in variants:
                    variant.ask(_step)
            interleave(variants, _step, rounds, "LightGCN")
            peak_gb |= {variant: variant.peak_gb() for variant in variants}
    ratio = RatioRange.of_ratios(pyg.seconds, ours.seconds) if stock else None
    return LightGCNBench(
        stock_s_per_step=_median(pyg.seconds) if stock else None,
        ours_s_per_step=_median(ours.seconds),
        ours_2_ranks_s_per_step=_median(ours_2.seconds),
        ratio=ratio.median if ratio else None,
        ratio_min=ratio.low if ratio else None,
        ratio_max=ratio.high if ratio else None,
        peak_gb=peak_gb[ours],
        peak_2_ranks_gb=peak_gb[ours_2],
        idle_gb=ours.idle_gb,
        nodes=nodes,
        rounds=rounds,
        cores=cores(),
        **asdict(size),
    )


def random_edges(users: int, items: int, count: int, seed: int) -> Edges:
    """`count` distinct uniform pairs: no popular items whose vectors would stay in the cache."""
    assert 2 * count <= users * items, "so dense a graph takes long to draw"
    rng = np.random.default_rng(seed)
    key_Z = np.empty(0, dtype=np.int64)
    while len(key_Z) < count:
        more = rng.integers(0, users * items, count - len(key_Z) + count // 100 + 1)
        key_Z = np.unique(np.concatenate([key_Z, more]))
    kept_Z = np.sort(rng.choice(len(key_Z), count, replace=False)) if len(key_Z) > count else slice(None)
    return Edges(key_Z=key_Z[kept_Z], users=users, items=items)


def _ours(size: GraphSize, worker: Worker) -> Step:
    """A step of `gensr lightgcn`, its negatives included."""
    edges = random_edges(size.users, size.items, size.edges, _SEED)
    trainer = ColumnTrainer(edges, size.training, _SEED, ColumnRanks(worker.rank, worker.world, worker.device))
    batches = _endless(EdgeBatches(edges, size.batch, _SEED))

    def step() -> None:
        trainer.step(*next(batches))

    return step


def _endless(batches: EdgeBatches) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    for epoch in itertools.count(1):
        yield from batches.epoch(epoch)


def _stock(size: GraphSize, worker: Worker) -> Step:
    """A step as in PyG's examples/lightgcn.py, its negatives included."""
    users, device = size.users, worker.device
    edges = random_edges(users, size.items, size.edges, _SEED)
    user_Z = torch.from_numpy(edges.user_Z).to(device)
    item_Z = torch.from_numpy(edges.item_Z).to(device) + users
    edge_index = torch.cat([torch.stack([user_Z, item_Z]), torch.stack([item_Z, user_Z])], dim=1)
    model = LightGCN(users + size.items, size.width, size.layers).to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=size.training.learning_rate)

    def step() -> None:
        index_B = torch.randint(len(user_Z), (size.batch,), device=device)
        positive_2B = torch.stack([user_Z[index_B], item_Z[index_B]])
        negative_B = torch.randint(users, users + size.items, (size.batch,), device=device)
        pairs = torch.cat([positive_2B, torch.stack([positive_2B[0], negative_B])], dim=1)
        optimizer.zero_grad()
        positive_B, negative_B = model(edge_index, pairs).chunk(2)
        loss = model.recommendation_loss(positive_B, negative_B, node_id=pairs.unique())
        loss.backward()
        optimizer.step()
        float(loss.detach())

    return step


def _step(step: Step) -> None:
    step()


def _median(values: list[float]) -> float:
    return round(statistics.median(values), 4)
