"""Preparation on one machine: the log in memory, shards written by several processes."""

import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager

from tqdm import tqdm

from gensr_dist.data.config import DataConfig
from gensr_dist.data.events import EventLog
from gensr_dist.data.forks import die_with_parent
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
        work = _Work(self._timelines, self._items, target, config, seed)
        shards = -(-self._timelines.users // users_per_shard(config))
        done: dict[int, ShardResult] = {}
        with tqdm(
            total=len(self._timelines.item_N), desc="write shards", unit="event", unit_scale=True, disable=None
        ) as bar:
            for number, result in work.of_all(shards, min(self._workers, shards)):
                done[number] = result
                bar.update(result.record.events)
        return [done[number] for number in range(shards)]


class _Work:
    """Writing any shard of a log; forked processes share its arrays."""

    def __init__(self, timelines: Timelines, items: int, target: Folder, config: DataConfig, seed: int) -> None:
        self.timelines, self.items, self.target, self.config, self.seed = timelines, items, target, config, seed

    def of_all(self, shards: int, workers: int) -> Iterator[tuple[int, ShardResult]]:
        """Write every shard, in any order."""
        if workers == 1:
            yield from ((number, self.of_shard(number)) for number in range(shards))
            return
        try:
            with _shared(self), _pool(workers) as pool:
                number_of: dict[Future[ShardResult], int] = {pool.submit(_of_shard, n): n for n in range(shards)}
                try:
                    for future in as_completed(number_of):
                        yield number_of[future], future.result()
                finally:
                    pool.shutdown(cancel_futures=True)
        except BrokenProcessPool:
            raise InputError(
                self.target.place, "a process that wrote shards was killed", "free memory, or lower --workers"
            ) from None

    def of_shard(self, number: int) -> ShardResult:
        """Write one shard."""
        per_shard = users_per_shard(self.config)
        first = number * per_shard
        return write_users(
            self.target,
            number,
            self.timelines.of_users(first, min(first + per_shard, self.timelines.users)),
            first,
            items=self.items,
            config=self.config,
            seed=self.seed,
        )


def _pool(workers: int) -> ProcessPoolExecutor:
    with enough_shared_memory("add --workers 1"):
        return ProcessPoolExecutor(
            workers, multiprocessing.get_context("fork"), die_with_parent, initargs=(os.getpid(),)
        )


_work: _Work | None = None  # what forked processes find instead of a pickled copy


@contextmanager
def _shared(work: _Work) -> Iterator[None]:
    global _work
    _work = work
    try:
        yield
    finally:
        _work = None


def _of_shard(number: int) -> ShardResult:
    assert _work is not None
    return _work.of_shard(number)
