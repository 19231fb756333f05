import gc
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch.distributed as dist
from hypothesis import HealthCheck, settings

from gensr_dist.data.cf_vectors import save_cf
from gensr_dist.data.config import DataConfig
from gensr_dist.data.events import EVENT_SCHEMA, ITEM_SCHEMA, QUERY_SCHEMA, USER_SCHEMA, EventLog
from gensr_dist.data.items import ItemStore
from gensr_dist.data.preparation.local_engine import LocalEngine
from gensr_dist.data.preparation.prepare import prepare
from gensr_dist.data.shards.store import TimelineStore
from gensr_dist.retrieval.channels.stage import build_channels
from gensr_dist.runs.folder import RunFolder
from gensr_dist.storage.folder import Folder

settings.register_profile("busy machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy machine")

signal.signal(signal.SIGHUP, signal.SIG_DFL)  # tests started with `nohup` test the same

WORDS = ["red", "blue", "soap", "lamp", "tea", "salt", "glass", "wool", "oak", "tin"]


def random_log(seed: int, *, users: int = 40, items: int = 60, events: int = 1_500) -> EventLog:
    """Events of random users, items, behaviours and times, twins and unclicked exposures among them."""
    rng = np.random.default_rng(seed)
    behaviour = rng.integers(0, 2, size=events)
    table = {
        "user": rng.integers(0, users, size=events),
        "item": rng.integers(0, items, size=events),
        "behaviour": behaviour,
        "time": rng.integers(0, 400, size=events) * 3_600_000,
        "query": np.where(behaviour == 1, rng.integers(0, 12, size=events), -1),
        "positive": rng.random(events) < 0.8,
    }
    frame = pl.DataFrame(table).cast(dict(EVENT_SCHEMA))
    twins = frame[:200].with_columns(behaviour=(1 - pl.col("behaviour").cast(pl.Int8)))
    twins = twins.with_columns(query=pl.when(pl.col("behaviour") == 1).then(3).otherwise(-1))
    return EventLog(
        users=pl.DataFrame({"user_id": [f"u{n}" for n in range(users)]}, schema=USER_SCHEMA),
        items=pl.DataFrame(
            {
                "item_id": [f"i{n}" for n in range(items)],
                "text": [" ".join(rng.choice(WORDS, size=rng.integers(0, 6))) for _ in range(items)],
            },
            schema=ITEM_SCHEMA,
        ),
        queries=pl.DataFrame({"text": [" ".join(rng.choice(WORDS, size=2)) for _ in range(12)]}, schema=QUERY_SCHEMA),
        events=pl.concat([frame, twins.cast(dict(EVENT_SCHEMA))]),
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whole runs first: begun last, they would keep one test process at work while the other has nothing left."""
    items.sort(key=lambda item: "integration" not in item.path.parts)
    for item in items:
        if r"\x1f\x8b" in item.nodeid:  # gzip notes the second: each test process would collect other tests
            raise pytest.UsageError(f"{item.nodeid}: give this case an id without the bytes of a gzip file")


def pytest_collection_finish() -> None:
    """Thousands of tests and their modules stay: no collection of garbage needs to walk through them again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="module", autouse=True)
def no_process_group_outlives_its_module() -> Iterator[None]:
    """Processes that later modules fork would take it for theirs."""
    yield
    if dist.is_initialized():
        comm = sys.modules.get("deepspeed.comm")  # its own call also forgets what DeepSpeed knows of the groups
        (comm if comm is not None and comm.is_initialized() else dist).destroy_process_group()


@pytest.fixture(scope="session")
def small_shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared shard folder of a small random log: read it, never write into it."""
    folder = tmp_path_factory.mktemp("small") / "shards"
    config = DataConfig(
        split="time",
        valid_share=0.1,
        test_share=0.1,
        vocabulary=300,
        title_tokens=6,
        query_tokens=4,
        eval_negatives=9,
        users_per_sample=8,
    )
    prepare(LocalEngine(random_log(0)), config, 0, Folder.at(folder))
    return folder


@pytest.fixture(scope="session")
def small_store(small_shards: Path) -> TimelineStore:
    return TimelineStore.open(Folder.at(small_shards))


@pytest.fixture(scope="session")
def small_items(small_shards: Path) -> ItemStore:
    return ItemStore.open(Folder.at(small_shards))


@pytest.fixture(scope="session")
def small_cf(small_store: TimelineStore) -> np.ndarray:
    """CF vectors of the items, [I, 8]."""
    return np.random.default_rng(1).normal(size=(small_store.items, 8)).astype(np.float32)


@pytest.fixture(scope="session")
def small_channels(
    tmp_path_factory: pytest.TempPathFactory, small_store: TimelineStore, small_items: ItemStore
) -> Path:
    """What `gensr channels` counts in the small log."""
    folder = tmp_path_factory.mktemp("small") / "channels"
    build_channels(small_store, small_items, folder)
    return folder


@pytest.fixture
def small_run(
    tmp_path: Path, small_shards: Path, small_channels: Path, small_store: TimelineStore, small_cf: np.ndarray
) -> RunFolder:
    """A run folder that is ready for training: small shards and channels (shared, read only) and CF vectors."""
    return _small_run(tmp_path / "run", small_shards, small_channels, small_store, small_cf)


@pytest.fixture(scope="module")
def small_run_of_module(
    tmp_path_factory: pytest.TempPathFactory,
    small_shards: Path,
    small_channels: Path,
    small_store: TimelineStore,
    small_cf: np.ndarray,
) -> RunFolder:
    """As `small_run`, for what the tests of a module share."""
    folder = tmp_path_factory.mktemp("module") / "run"
    return _small_run(folder, small_shards, small_channels, small_store, small_cf)


def _small_run(
    folder: Path, small_shards: Path, small_channels: Path, small_store: TimelineStore, small_cf: np.ndarray
) -> RunFolder:
    run = RunFolder(folder)
    run.root.mkdir()
    (run.root / "shards").symlink_to(small_shards)
    run.channels.symlink_to(small_channels)
    user_VE = np.zeros((small_store.users, small_cf.shape[1]), dtype=np.float32)
    record = {
        "seed": 0,
        "settings": {"width": small_cf.shape[1], "folds": 0},
        "result": {"items": small_store.items, "users": small_store.users},
    }
    save_cf(run.cf, small_cf, user_VE, record)
    return run
