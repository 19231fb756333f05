"""Preparation on one machine: the log in memory, shards written by several processes."""

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from functools import partial

from tqdm import tqdm

from gensr_dist.data.child_processes import begin_child
from gensr_dist.data.config import DataConfig
from gensr_dist.data.events import EventLog
from gensr_dist.data.preparation.engine import CleanLog
from gensr_dist.data.preparation.filtering import keep_active
from gensr_dist.data.preparation.shard_work import ShardResult, users_per_shard, write_users
from gensr_dist.data.preparation.splitting import assign_splits, count_positives, find_moments
from gensr_dist.data.shared_memory import enough_shared_memory
from gensr_dist.data.timelines.timelines import Timelines, build_timelines
from gensr_dist.errors import InputError
from gensr_dist.storage.folder import Folder


class LocalEngine:
    """Holds the log from reading to writing.

    Args:
        log: what a source gave; the caller should not keep it, as the engine lets go of it early.
        workers: processes that write shards; 1 writes in this process. The bytes do not depend on it.
    """

    def __init__(self, log: EventLog, workers: int = 1) -> None:
        self._log: EventLog | None = log
        self._workers = workers

    def clean(self, config: DataConfig) -> CleanLog:
        """As `PreparationEngine.clean`."""
        assert self._log is not None, "a log is cleaned once"
        log, self._log = self._log, None
        log = keep_active(log, min_interactions=config.min_interactions, both_behaviours=config.both_behaviours)
        events = assign_splits(log.events, find_moments(log.events, config))
        self._timelines = build_timelines(log.users.height, events)
        self._items = log.items.height
        return CleanLog(
            users=log.users,
            items=log.items,
            queries=log.queries,
            positives_BS=count_positives(events),
            repairs=log.repairs,
            read=log.read,
        )

    def write_shards(self, target: Folder, config: DataConfig, seed: int) -> list[ShardResult]:
        """As `PreparationEngine.write_shards`."""
        step = users_per_shard(config)
        users, events = self._timelines.users, len(self._timelines.item_N)
        write = partial(_write_shard, self._timelines, self._items, target, config, seed)
        firsts = range(0, users, step)
        done: list[ShardResult] = []
        with tqdm(total=events, desc="write shards", unit="event", unit_scale=True, disable=None) as bar:
            for result in _of_all(write, firsts, min(self._workers, len(firsts)), target.place):
                done.append(result)
                bar.update(result.record.events)
        return sorted(done, key=lambda result: result.record.first_user)


def _of_all(
    write: Callable[[int], ShardResult], firsts: Sequence[int], workers: int, where: str
) -> Iterator[ShardResult]:
    """Write the shards that begin with these users, in any order; forked processes share the log's arrays."""
    if workers == 1:
        yield from map(write, firsts)
        return
    context = multiprocessing.get_context("fork")
    try:
        with enough_shared_memory("add --workers 1"):
            pool = ProcessPoolExecutor(workers, context, _begin, initargs=(os.getpid(), write))
        with pool:
            try:
                for future in as_completed([pool.submit(_write_here, first) for first in firsts]):
                    yield future.result()
            finally:
                pool.shutdown(cancel_futures=True)
    except BrokenProcessPool:
        problem, remedy = "a process that wrote shards was killed", "free memory, or lower --workers"
        raise InputError(where, problem, remedy) from None


def _write_shard(
    timelines: Timelines, items: int, target: Folder, config: DataConfig, seed: int, first: int
) -> ShardResult:
    step = users_per_shard(config)
    users = timelines.of_users(first, min(first + step, timelines.users))
    return write_users(target, first // step, users, first, items=items, config=config, seed=seed)


_write: Callable[[int], ShardResult]  # of a forked process, which would else get it with every task, as a pickled copy


def _begin(parent: int, write: Callable[[int], ShardResult]) -> None:
    global _write
    begin_child(parent)
    _write = write


def _write_here(first: int) -> ShardResult:
    return _write(first)
