"""Timelines drawn at random, and shard folders of them without an item store."""

import hashlib
from pathlib import Path

import numpy as np

from gensr_dist.data.config import DataConfig
from gensr_dist.data.shards.manifest import SCHEMA_VERSION, Manifest, ShardRecord, SplitCounts
from gensr_dist.data.shards.tar import shard_blocks, shard_name, write_shard
from gensr_dist.data.timelines.rows import evaluation_rows
from gensr_dist.data.timelines.timelines import Timelines
from gensr_dist.storage.checked_files import FileRecord
from tests.timelines import timelines_of_columns

ITEMS, QUERIES, NEGATIVES = 50, 9, 4


def random_timelines(seed: int, users: int, events: int) -> Timelines:
    """Events with ties in time, twins and users without events; the newest are held out."""
    draw = np.random.default_rng(seed)
    user_N, time_N = draw.integers(0, users, events), draw.integers(0, 40, events)
    item_N = draw.integers(0, ITEMS, events)
    twin = draw.random(events) < 0.1
    user_N, time_N, item_N = (np.concatenate([column, column[twin]]) for column in (user_N, time_N, item_N))
    behaviour_N = np.concatenate([np.zeros(events), np.ones(twin.sum())]).astype(np.uint8)
    alone = np.flatnonzero(~twin)
    behaviour_N[alone] = draw.integers(0, 2, len(alone))
    order = np.lexsort((item_N, time_N, user_N))
    user_N, time_N, item_N, behaviour_N = (column[order] for column in (user_N, time_N, item_N, behaviour_N))
    searched = (behaviour_N == 1) & (draw.random(len(order)) < 0.8)
    return timelines_of_columns(
        users,
        user_N,
        item_N=item_N,
        time_N=1_684_000_000_000 + 250 * time_N,
        query_N=np.where(searched, draw.integers(0, QUERIES, len(order)), -1),
        behaviour_N=behaviour_N,
        positive_N=draw.random(len(order)) < 0.7,
        split_N=np.select([time_N < 28, time_N < 34], [0, 1], 2),
    )


def random_negatives(timelines: Timelines, seed: int = 0) -> np.ndarray:
    """Distinct items in any order for each evaluation row."""
    draw = np.random.default_rng(seed)
    rows = len(evaluation_rows(timelines))
    return np.argsort(draw.random((rows, ITEMS)), axis=1)[:, :NEGATIVES].astype(np.uint32)


def write_folder(
    folder: Path, timelines: Timelines, negative_RC: np.ndarray, *, users_per_shard: int, users_per_sample: int = 3
) -> Manifest:
    """Write shards and a manifest."""
    (folder / "tokenizer").mkdir(parents=True)
    (folder / "tokenizer" / "tokenizer.json").write_bytes(b"{}")
    vocabulary = hashlib.sha256(b"{}").hexdigest()
    eval_event_R = evaluation_rows(timelines)
    shards: list[ShardRecord] = []
    for first in range(0, timelines.users, users_per_shard):
        end = min(first + users_per_shard, timelines.users)
        rows = slice(*np.searchsorted(eval_event_R, timelines.user_start_V[[first, end]]))
        blocks = shard_blocks(timelines.of_users(first, end), first, negative_RC[rows], users_per_sample)
        shards.append(write_shard(folder / shard_name(len(shards)), blocks))
    none = SplitCounts(train=0, valid=0, test=0)
    manifest = Manifest(
        schema_version=SCHEMA_VERSION,
        seed=0,
        config=DataConfig(eval_negatives=NEGATIVES),
        users=timelines.users,
        items=ITEMS,
        queries=QUERIES,
        events=len(timelines.item_N),
        recommendation=none,
        search=none,
        vocabulary=vocabulary,
        shards=tuple(shards),
        files=(FileRecord(name="tokenizer/tokenizer.json", bytes=2, sha256=vocabulary),),
    )
    manifest.write(folder)
    return manifest
