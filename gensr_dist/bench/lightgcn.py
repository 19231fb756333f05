"""Seconds a step of LightGCN: stock PyG on `edge_index`, ours on one rank and ours on two, in one run.

Dimensions: Z edges, B edges of a step.
"""

import gc
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from torch_geometric.nn.models import LightGCN

from gensr_dist.graph.batches import EdgeBatches
from gensr_dist.graph.config import LightGCNConfig
from gensr_dist.graph.edges import Edges
from gensr_dist.graph.ranks import ColumnRanks
from gensr_dist.graph.trainer import ColumnTrainer

_SEED = 0
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
    peak_gb: float  # 1e9 bytes, resident, of ours on one rank; the libraries are part of it
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
    """
    users = nodes // 2 if users is None else users
    config = LightGCNConfig(width=width, layers=layers, batch=batch)
    setting = _Setting(users=users, items=nodes - users, edges=edges, config=config)
    ours, ours_2 = _Way(_ours, 1), _Way(_ours, 2)
    ways = [_Way(_stock, 1), ours, ours_2] if stock else [ours, ours_2]
    if stock:
        _take_turns(ways, setting, rounds)
    else:
        for way in ways:
            _take_turns([way], setting, rounds)
    stock_s = ways[0].seconds if stock else None
    ratios = [slow / fast for slow, fast in zip(stock_s, ours.seconds, strict=True)] if stock_s else None
    return LightGCNBench(
        stock_s_per_step=_median(stock_s) if stock_s else None,
        ours_s_per_step=_median(ours.seconds),
        ours_2_ranks_s_per_step=_median(ours_2.seconds),
        ratio=_median(ratios) if ratios else None,
        ratio_min=round(min(ratios), 4) if ratios else None,
        ratio_max=round(max(ratios), 4) if ratios else None,
        peak_gb=ours.peak_gb,
        peak_2_ranks_gb=ours_2.peak_gb,
        idle_gb=ours.idle_gb,
        users=users,
        items=setting.items,
        nodes=nodes,
        edges=edges,
        width=width,
        layers=layers,
        batch=batch,
        rounds=rounds,
        cores=_cores(),
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


def _ours(setting: _Setting, ranks: ColumnRanks) -> Step:
    """A step of `gensr lightgcn`, its negatives included."""
    edges = random_edges(setting.users, setting.items, setting.edges, _SEED)
    trainer = ColumnTrainer(edges, setting.config, _SEED, ranks)
    batches = _endless(EdgeBatches(edges, setting.config.batch, _SEED))

    def step() -> None:
        trainer.step(*next(batches))

    return step


def _endless(batches: EdgeBatches) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    epoch = 0
    while True:
        epoch += 1
        yield from batches.epoch(epoch)


def _stock(setting: _Setting, _: ColumnRanks) -> Step:
    """A step as in PyG's examples/lightgcn.py, its negatives included."""
    config, users = setting.config, setting.users
    edges = random_edges(users, setting.items, setting.edges, _SEED)
    device = ColumnRanks().device
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


class _Way:
    """One way of training, measured in as many processes as it has ranks."""

    def __init__(self, make: Callable[[_Setting, ColumnRanks], Step], world: int) -> None:
        self.make, self.world = make, world
        self.seconds: list[float] = []
        self.peak_gb = self.idle_gb = 0.0
        self.pipes: list[Connection] = []

    @contextmanager
    def processes(self, setting: _Setting) -> Iterator[None]:
        """Start the processes, which set up and then wait for orders; end them."""
        context = multiprocessing.get_context("spawn")
        with tempfile.TemporaryDirectory() as meeting:
            started = []
            for rank in range(self.world):
                pipe, other = context.Pipe()
                arguments = (self.make, setting, rank, self.world, Path(meeting), other)
                process = context.Process(target=_rank, args=arguments, daemon=True)
                with _patient_threads():
                    process.start()
                other.close()
                started.append(process)
                self.pipes.append(pipe)
            self.idle_gb = max(pipe.recv() for pipe in self.pipes)  # EOFError: the process died, and said why
            try:
                yield
            finally:
                for pipe in self.pipes:
                    pipe.close()
                for process in started:
                    process.join()
                self.pipes = []

    def step(self) -> float:
        """Seconds of the slowest rank, from the common start."""
        for pipe in self.pipes:
            pipe.send("step")
        return max(pipe.recv() for pipe in self.pipes)

    def finish(self) -> None:
        """Ask for the memory."""
        for pipe in self.pipes:
            pipe.send("peak")
        self.peak_gb = max(pipe.recv() for pipe in self.pipes)


@contextmanager
def _patient_threads() -> Iterator[None]:
    """Let threads of processes that start here sleep at barriers.

    One that spins, while some other process has the core of the thread that it waits for, makes two threads slower than
    one: on a busy machine that measures the other process.
    """
    before = os.environ.get("OMP_WAIT_POLICY")
    os.environ["OMP_WAIT_POLICY"] = "passive"
    try:
        yield
    finally:
        del os.environ["OMP_WAIT_POLICY"]
        if before is not None:
            os.environ["OMP_WAIT_POLICY"] = before


def _take_turns(ways: list[_Way], setting: _Setting, rounds: int) -> None:
    with ExitStack() as stack:
        for way in ways:
            stack.enter_context(way.processes(setting))
        for number in range(-2, rounds):
            for way in ways:
                seconds = way.step()
                if number >= 0:
                    way.seconds.append(seconds)
        for way in ways:
            way.finish()


def _rank(
    make: Callable[[_Setting, ColumnRanks], Step],
    setting: _Setting,
    rank: int,
    world: int,
    meeting: Path,
    pipe: Connection,
) -> None:
    """Serve orders until the pipe closes."""
    torch.set_num_threads(max(1, _cores() // world))
    idle_gb = _peak_gb()
    if world > 1:
        backend = "nccl" if torch.cuda.device_count() >= world else "gloo"
        dist.init_process_group(backend, init_method=f"file://{meeting}/ranks", rank=rank, world_size=world)
    device = torch.device("cuda", rank % torch.cuda.device_count()) if torch.cuda.is_available() else None
    ranks = ColumnRanks(rank, world) if device is None else ColumnRanks(rank, world, device)
    step = make(setting, ranks)
    gc.collect()
    ranks.wait()
    pipe.send(idle_gb)
    while True:
        try:
            order = pipe.recv()
        except EOFError:
            break
        if order == "peak":
            pipe.send(_peak_gb())
            continue
        ranks.wait()
        began = time.perf_counter()
        step()
        ranks.wait()
        pipe.send(time.perf_counter() - began)
    if world > 1:
        dist.destroy_process_group()


def _peak_gb() -> float:
    """Largest resident size of this process so far; unlike `ru_maxrss` it knows nothing of the parent's."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
    return round(int(line.split()[1]) * 1024 / 1e9, 3)


def _median(values: list[float]) -> float:
    return round(statistics.median(values), 4)


def _cores() -> int:
    return os.cpu_count() or 1
