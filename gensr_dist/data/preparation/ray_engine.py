"""Preparation on a Ray cluster: Ray Data groups the events by bucket and by shard, Ray's tasks do the rest.

What is lost with a machine is made again from what it was made of, back to the raw files; the driver and the head node
must live. The driver holds the tables of users, items and queries, and counts a user and an item, but never the events.
"""

import logging
import os
import pickle
import socket
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import polars as pl
import pyarrow as pa
from tqdm import tqdm

from gensr_dist.data.config import DataConfig
from gensr_dist.data.events import Repair
from gensr_dist.data.preparation.bucket_work import (
    Tally,
    days_of,
    gather_bucket,
    number_part,
    positives_before,
    split_bucket,
    survey,
    time_of_rank,
    write_bucket,
)
from gensr_dist.data.preparation.engine import CleanLog
from gensr_dist.data.preparation.filtering import (
    Activity,
    Core,
    Counts,
    Numbering,
    count,
    k_core,
    queries_left,
)
from gensr_dist.data.preparation.shard_work import ShardResult, users_per_shard
from gensr_dist.data.preparation.splitting import SplitTimes, count_positives, moments_of_days, ranks_of_shares
from gensr_dist.data.shards.tar import shard_name
from gensr_dist.data.sources import open_source
from gensr_dist.data.sources.assembling import References, Tables, build_tables
from gensr_dist.data.sources.parts import Part, add_repairs, join_rows, read_part, require_rows
from gensr_dist.data.sources.reading import Rows
from gensr_dist.data.sources.times import latest_time
from gensr_dist.errors import InputError
from gensr_dist.storage.folder import Folder

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
try:
    import ray
    import ray.data
    from ray.data.context import ShuffleStrategy
except ImportError as error:
    raise InputError("--engine ray", f"Ray is missing ({error})", "pip install 'gensr_dist[ray]'") from None

BUCKET_ROWS = 1_000_000  # mean events of a bucket; some 100 bytes each in a task
_ANSWER_S = 5.0  # seconds that a cluster's head has to take a connection
_RETRIES = 20  # of a task whose machine or process died
_FAN_IN = 16  # partial results that one task adds up
_Value = TypeVar("_Value")
_Ref = Any  # ray.ObjectRef


class RayEngine:
    """Does the work on a Ray cluster, which has gensr_dist installed on all its machines and reaches the raw log.

    Args:
        raw: path or URL of the folder of the raw log.
        address: of the cluster; empty starts one on this machine.
        bucket_rows: mean events of a bucket. The bytes do not depend on it.
    """

    def __init__(self, raw: str | Path, address: str = "", bucket_rows: int = BUCKET_ROWS) -> None:
        self._raw = raw if "://" in str(raw) else Path(raw).resolve()
        self._bucket_rows = bucket_rows
        connect(address)

    def clean(self, config: DataConfig) -> CleanLog:
        """As `PreparationEngine.clean`."""
        source = open_source(config, self._raw, _count_quotes)
        referred, interactions = _survey(source.interactions)
        items, users = _read(source.items, "items"), _read(source.users, "users")
        tables, repairs = build_tables(referred, items.frame, users.frame)
        buckets = _into_buckets(source.interactions, tables, -(-interactions.kept // self._bucket_rows))
        distinct = sum(_get([_height.remote(bucket) for bucket in buckets], "gather users"))
        repairs.append(Repair("duplicate events dropped", interactions.kept - distinct, drops=True))

        core = _filter(buckets, len(tables.user_id), len(tables.item_id), config)
        core_ref = ray.put(core)
        left = [_call.remote(queries_left, bucket, core_ref, len(tables.query)) for bucket in buckets]
        numbering = Numbering(core, _reduce(_any, left))
        numbering_ref = ray.put(numbering)
        buckets = [_call.remote(_renumber, numbering_ref, bucket) for bucket in buckets]
        moments = _find_moments(buckets, config)
        buckets = [_call.remote(split_bucket, bucket, moments, config) for bucket in buckets]
        self._events = sum(_get([_height.remote(bucket) for bucket in buckets], "number events"))
        log = CleanLog(
            *numbering.tables(
                pl.DataFrame({"user_id": tables.user_id.cast(pl.String)}),
                pl.DataFrame({"item_id": tables.item_id.cast(pl.String), "text": tables.text}),
                pl.DataFrame({"text": tables.query}),
            ),
            positives_BS=_reduce(_sum, [_call.remote(count_positives, bucket) for bucket in buckets]),
            repairs=add_repairs([*interactions.repairs, *items.repairs, *users.repairs, *repairs])
            + numbering.repairs(distinct - self._events),
            read=interactions.read,
        )
        self._buckets = buckets
        self._users, self._items = log.users.height, log.items.height
        return log

    def write_shards(self, target: Folder, config: DataConfig, seed: int) -> list[ShardResult]:
        """As `PreparationEngine.write_shards`."""
        if target.local:
            target = Folder.at(target.local.resolve())
        write = partial(write_bucket, target=target, users=self._users, items=self._items, config=config, seed=seed)
        tables = [_call.remote(pl.DataFrame.to_arrow, bucket) for bucket in self._buckets]
        by_shard = ray.data.from_arrow_refs(tables).groupby("shard")
        written = by_shard.map_groups(_written, fn_kwargs={"work": write}, batch_format="pyarrow")
        done: dict[str, ShardResult] = {}
        bar = tqdm(total=self._events, desc="write shards", unit="event", unit_scale=True, disable=None)
        with bar, _explained():
            for row in written.iter_rows():
                result = pickle.loads(row["content"])  # noqa: S301
                if isinstance(result, InputError):
                    raise result
                done[result.record.name] = result
                bar.update(result.record.events)
        names = [shard_name(number) for number in range(-(-self._users // users_per_shard(config)))]
        lacking = [name for name in names if target.local and not (target.local / name).is_file()]
        if lacking:
            problem = f"{lacking[0]} was written on another machine and is not to be seen here"
            raise InputError(target.place, problem, "let data.shards be a folder that all machines share, or a URL")
        return [done[name] for name in names]


def connect(address: str) -> None:
    """Join the cluster at `address`, or start one on this machine."""
    context = ray.data.DataContext.get_current()
    # Tasks, and not actors whose state is lost with their machine. It also does with any number of cores.
    context.shuffle_strategy = ShuffleStrategy.SORT_SHUFFLE_PULL_BASED
    context.enable_progress_bars = sys.stderr.isatty()
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    if ray.is_initialized():
        return
    try:
        if ":" in address and "://" not in address:
            host, _, port = address.rpartition(":")
            socket.create_connection((host, int(port)), _ANSWER_S).close()  # Ray itself would try for minutes
        # A task has one core, and should not start a thread for each core of its machine.
        environment = {"env_vars": {"POLARS_MAX_THREADS": "1"}}
        more = {} if address else {"include_dashboard": False}
        ray.init(address or "local", log_to_driver=False, logging_level="ERROR", runtime_env=environment, **more)
    except (OSError, ValueError, RuntimeError) as error:
        problem = f"no Ray cluster at {address or 'this machine'} ({' '.join(str(error).split())[:200]})"
        raise InputError("--address", problem, "start one with `ray start --head`, or correct the address") from None


@ray.remote(max_retries=_RETRIES)
def _call(function: Callable[..., _Value], *arguments: Any) -> _Value:
    return function(*arguments)


@ray.remote(max_retries=_RETRIES, num_returns=2)
def _call_for_two(function: Callable[..., _Value], *arguments: Any) -> _Value:
    return function(*arguments)


@ray.remote(max_retries=_RETRIES)
def _height(frame: pl.DataFrame) -> int:
    return frame.height


def _get(refs: Sequence[_Ref], what: str, sizes: Sequence[int] = ()) -> list[Any]:
    """Results in the order of `refs`, with progress in parts, or in bytes where their sizes are given."""
    size_of = dict(zip(refs, sizes or [1] * len(refs), strict=True))
    unit = "B" if sizes else "part"
    with tqdm(total=sum(size_of.values()), desc=what, unit=unit, unit_scale=bool(sizes), disable=None) as bar:
        waiting = list(refs)
        while waiting:
            done, waiting = ray.wait(waiting, num_returns=1)
            bar.update(sum(size_of[ref] for ref in done))
    return _values(list(refs))


def _values(refs: Any) -> Any:
    """Like `ray.get`."""
    with _explained():
        return ray.get(refs)


@contextmanager
def _explained() -> Iterator[None]:
    """Raise what a task finds wrong with the input as itself, and what the cluster cannot do as one line."""
    try:
        yield
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, InputError):
            raise error.cause from None
        raise  # a bug
    except ray.exceptions.RayError as error:
        problem = f"the cluster gave up ({' '.join(str(error).split())[:200]})"
        raise InputError("--engine ray", problem, "see its logs; give it more memory or machines") from None


def _reduce(add: Callable[[Sequence[_Value]], _Value], refs: Sequence[_Ref]) -> _Value:
    """Add partial results up on the cluster, so that the driver holds one."""
    while len(refs) > 1:
        refs = [_added.remote(add, *refs[at : at + _FAN_IN]) for at in range(0, len(refs), _FAN_IN)]
    result: _Value = _values(refs[0])
    return result


@ray.remote(max_retries=_RETRIES)
def _added(add: Callable[[Sequence[_Value]], _Value], *values: _Value) -> _Value:
    return add(values)


def _count_quotes(function: Callable[[tuple[int, int]], int], ranges: Iterable[tuple[int, int]]) -> Iterable[int]:
    return _get([_call.remote(function, within) for within in ranges], "count quotes")


def _survey(parts: Sequence[Part]) -> tuple[References, Tally]:
    refs = [_call_for_two.remote(survey, part) for part in parts]
    tallies: list[Tally] = _get([tally for _, tally in refs], "survey log", [part.size for part in parts])
    require_rows(parts, [tally.read for tally in tallies], [tally.kept for tally in tallies])
    whole = Tally(
        read=sum(tally.read for tally in tallies),
        kept=sum(tally.kept for tally in tallies),
        repairs=add_repairs(repair for tally in tallies for repair in tally.repairs),
    )
    return _reduce(References.joined, [referred for referred, _ in refs]), whole


def _read(parts: Sequence[Part], name: str) -> Rows:
    """A whole table, as `read_parts`."""
    rows: list[Rows] = _get([_call.remote(read_part, p) for p in parts], f"read {name}", [p.size for p in parts])
    return join_rows(parts, rows)


def _into_buckets(parts: Sequence[Part], tables: Tables, buckets: int) -> list[_Ref]:
    """Events of the log (EVENT_SCHEMA and `order`) in buckets, without repeats."""
    parts_ref, tables_ref = ray.put(tuple(parts)), ray.put(replace(tables, text=tables.text.clear()))
    numbered = ray.data.range(len(parts), override_num_blocks=len(parts)).map_batches(
        _number_parts,
        fn_kwargs={"parts": parts_ref, "tables": tables_ref, "buckets": buckets},
        batch_size=None,
        batch_format="pyarrow",
    )
    gathered = numbered.groupby("bucket").map_groups(_gather, batch_format="pyarrow")
    with _explained():
        blocks = gathered.materialize().to_arrow_refs()
    return [_call.remote(_frame, block) for block in blocks]


def _number_parts(places: pa.Table, parts: _Ref, tables: _Ref, buckets: int) -> pa.Table:
    """The parts at these places, in one table."""
    found = [number_part(ray.get(parts)[place], place, ray.get(tables), buckets) for place in places["id"].to_pylist()]
    return pl.concat(found).to_arrow()


def _gather(events: pa.Table) -> pa.Table:
    """A bucket as one row, which Ray Data does not cut."""
    return _row(gather_bucket(_polars(events)))


def _frame(rows: pa.Table) -> pl.DataFrame:
    """The buckets of a block, which have no user in common, as one."""
    return pl.concat([pickle.loads(row.as_py()) for row in rows["content"]])  # noqa: S301


def _filter(buckets: Sequence[_Ref], users: int, items: int, config: DataConfig) -> Core:
    """As `keep_active`: users and items that stay."""
    activities = [_call.remote(Activity.of, bucket) for bucket in buckets]

    def count_in(core: Core) -> Counts:
        core_ref = ray.put(core)
        counts: Counts = _reduce(_sum, [_call.remote(count, activity, core_ref) for activity in activities])
        return counts

    return k_core(
        users, items, count_in, min_interactions=config.min_interactions, both_behaviours=config.both_behaviours
    )


def _renumber(numbering: Numbering, events: pl.DataFrame) -> pl.DataFrame:
    return numbering.apply(events)


def _find_moments(buckets: Sequence[_Ref], config: DataConfig) -> SplitTimes | None:
    """As `find_moments`."""
    match config.split:
        case "days":
            days: set[int] = _reduce(_union, [_call.remote(days_of, bucket) for bucket in buckets])
            return moments_of_days(days)
        case "time":
            latest = latest_time()

            def count_before(edge_E: np.ndarray) -> np.ndarray:
                return _reduce(_sum, [_call.remote(positives_before, bucket, edge_E) for bucket in buckets])

            positives = int(count_before(np.array([latest + 1]))[0])
            valid, test = ranks_of_shares(positives, config.valid_share, config.test_share)
            return SplitTimes(*(time_of_rank(rank, latest, count_before) for rank in (valid, test)))
        case "leave_one_out":
            return None


def _written(events: pa.Table, work: Callable[[pl.DataFrame], ShardResult]) -> pa.Table:
    """The result of writing a shard as one row."""
    try:
        return _row(work(_polars(events)))
    except InputError as error:  # which Ray Data would wrap
        return _row(error)


def _row(content: Any) -> pa.Table:
    return pa.table({"content": pa.array([pickle.dumps(content)], pa.large_binary())})


def _polars(table: pa.Table) -> pl.DataFrame:
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    return frame


def _any(parts: Sequence[np.ndarray]) -> np.ndarray:
    return np.logical_or.reduce(parts)


def _sum(parts: Sequence[Any]) -> Any:
    return sum(parts[1:], start=parts[0])


def _union(parts: Sequence[set[int]]) -> set[int]:
    return set().union(*parts)
