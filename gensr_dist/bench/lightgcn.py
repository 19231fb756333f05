"""Seconds a step of LightGCN: stock PyG on `edge_index`, ours on one rank and ours on two, in one run.

Dimensions: Z edges, B edges of a step.
"""

import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch_geometric.nn.models import LightGCN

from gensr_dist.bench.turns import Rank, Spread, Way, cores, started, take_turns
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
class LightGCNBench:
    """What `gensr bench lightgcn` prints. Each way of training runs in processes of its own on all cores together."""

    stock_s_per_step: float | None  # PyG's LightGCN on edge_index; None: not measured. Medians over rounds
    ours_s_per_step: float
    ours_2_ranks_s_per_step: float
    ratio: float | None  # stock / ours, median over rounds
    ratio_min: float | None
    ratio_max: float | None
    peak_gb: float  # 1e9 bytes of ours on one rank: of the GPU, or resident with the libraries
    peak_2_ranks_gb: float  # of the larger of both ranks
    idle_gb: float  # of a process that has only imported the libraries
    users: int
    items: int
    nodes: int
    edges: int
    width: int
    layers: int
    batch: int
    rounds: int
    cores: int


@dataclass(frozen=True, kw_only=True)
class _Setting:
    users: int
    items: int
    edges: int
    config: LightGCNConfig


def bench_lightgcn(
    *,
    nodes: int = 100_000,
    edges: int = 1_000_000,
    users: int | None = None,
    width: int = 64,
    layers: int = 3,
    batch: int = 65_536,
    rounds: int = 5,
    stock: bool = True,
) -> LightGCNBench:
    """Train on a random graph; a round is one step of each way.

    With `stock` all ways take turns, step by step, so that whatever else the machine does meets all of them. Without
    it, for graphs that fill the memory, each way ends before the next begins.

    Args:
        nodes: users and items.
        edges: distinct user-item pairs.
        users: of the nodes; half of them if not given.
        width: of the vectors, even.
        layers: propagations.
        batch: edges a step.
        rounds: measured ones; two more warm up.
        stock: measure PyG too.

    Raises:
        InputError: there are no users or no items, or more edges than half of all pairs, which takes long to draw.
    """
    users = nodes // 2 if users is None else users
    if not 0 < users < nodes:
        raise InputError(
            "--users", f"{users:,} of {nodes:,} nodes, expected 1 to {nodes - 1:,}", "lower it or raise --nodes"
        )
    pairs = users * (nodes - users)
    if 2 * edges > pairs:
        raise InputError(
            "--edges",
            f"{edges:,} of the {pairs:,} pairs of {users:,} users and {nodes - users:,} items, expected at most half",
            "lower it or raise --nodes",
        )
    config = LightGCNConfig(width=width, layers=layers, batch=batch)
    peak_gb: dict[Way[_Setting, Step], float] = {}
    setting = _Setting(users=users, items=nodes - users, edges=edges, config=config)
    ours, ours_2, plain = Way(_ours), Way(_ours, world=2), Way(_stock)
    for ways in [[plain, ours, ours_2]] if stock else [[ours], [ours_2]]:
        with started(ways, setting):
            for _ in range(_WARM_UP):
                for way in ways:
                    way.ask(_step)
            take_turns(ways, _step, rounds, "LightGCN")
            peak_gb |= {way: way.peak_gb() for way in ways}
    ratio = Spread.of_ratios(plain.seconds, ours.seconds) if stock else None
    return LightGCNBench(
        stock_s_per_step=_median(plain.seconds) if stock else None,
        ours_s_per_step=_median(ours.seconds),
        ours_2_ranks_s_per_step=_median(ours_2.seconds),
        ratio=ratio.median if ratio else None,
        ratio_min=ratio.low if ratio else None,
        ratio_max=ratio.high if ratio else None,
        peak_gb=peak_gb[ours],
        peak_2_ranks_gb=peak_gb[ours_2],
        idle_gb=ours.idle_gb,
        users=users,
        items=setting.items,
        nodes=nodes,
        edges=edges,
        width=width,
        layers=layers,
        batch=batch,
        rounds=rounds,
        cores=cores(),
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


def _ours(setting: _Setting, rank: Rank) -> Step:
    """A step of `gensr lightgcn`, its negatives included."""
    edges = random_edges(setting.users, setting.items, setting.edges, _SEED)
    trainer = ColumnTrainer(edges, setting.config, _SEED, ColumnRanks(rank.rank, rank.world, rank.device))
    batches = _endless(EdgeBatches(edges, setting.config.batch, _SEED))

    def step() -> None:
        trainer.step(*next(batches))

    return step


def _endless(batches: EdgeBatches) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    epoch = 0
    while True:
        epoch += 1
        yield from batches.epoch(epoch)


def _stock(setting: _Setting, rank: Rank) -> Step:
    """A step as in PyG's examples/lightgcn.py, its negatives included."""
    config, users = setting.config, setting.users
    edges = random_edges(users, setting.items, setting.edges, _SEED)
    device = rank.device
    user_Z = torch.from_numpy(edges.user_Z).to(device)
    item_Z = torch.from_numpy(edges.item_Z).to(device) + users
    edge_index = torch.cat([torch.stack([user_Z, item_Z]), torch.stack([item_Z, user_Z])], dim=1)
    model = LightGCN(users + setting.items, config.width, config.layers).to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=config.learning_rate)

    def step() -> None:
        place_B = torch.randint(len(user_Z), (config.batch,), device=device)
        positive_2B = torch.stack([user_Z[place_B], item_Z[place_B]])
        negative_B = torch.randint(users, users + setting.items, (config.batch,), device=device)
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
