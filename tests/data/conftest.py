"""Small logs for the tests of this folder."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from gensr_dist.data.config import DataConfig
from gensr_dist.data.events import EVENT_SCHEMA, EventLog
from gensr_dist.data.preparation.local_engine import LocalEngine
from gensr_dist.data.preparation.prepare import prepare
from gensr_dist.storage.folder import Folder

DAY = 86_400_000

Row = tuple[int, int, int, int, int, bool]  # user, item, behaviour, time, query, positive


def log_of(rows: Sequence[Row], users: int, items: int, queries: int = 5) -> EventLog:
    events = pl.DataFrame(rows, schema=EVENT_SCHEMA, orient="row")
    return EventLog(
        users=pl.DataFrame({"user_id": [f"u{user}" for user in range(users)]}),
        items=pl.DataFrame(
            {
                "item_id": [f"i{item}" for item in range(items)],
                "text": [f"kind {item % 7} w{item}" for item in range(items)],
            }
        ),
        queries=pl.DataFrame({"text": [f"w{query} kind" for query in range(queries)]}),
        events=events,
    )


def random_log(*, users: int = 40, items: int = 60, events: int = 2_000, days: int = 6, seed: int = 0) -> EventLog:
    draw = np.random.default_rng(seed)
    behaviour = draw.integers(0, 2, events)
    query = np.where(behaviour == 1, draw.integers(0, 5, events), -1)
    columns = (
        draw.integers(0, users, events),
        draw.integers(0, items, events),
        behaviour,
        draw.integers(0, days * 24, events) * (DAY // 24),  # whole hours: many ties
        query,
        draw.random(events) < 0.6,
    )
    return log_of(
        [(int(a), int(b), int(c), int(d), int(e), bool(f)) for a, b, c, d, e, f in zip(*columns, strict=True)],
        users,
        items,
    )


@pytest.fixture(scope="session")
def make_log() -> Callable[..., EventLog]:
    """`make_log(users=, items=, events=, days=, seed=)` draws a log with ties in time."""
    return random_log


@pytest.fixture(scope="session")
def make_rows_log() -> Callable[..., EventLog]:
    """`make_rows_log(rows, users, items)` builds a log from event tuples."""
    return log_of


@pytest.fixture(scope="session")
def small_config() -> DataConfig:
    return DataConfig(
        vocabulary=400,
        eval_negatives=4,
        min_interactions=2,
        users_per_sample=4,
        samples_per_shard=3,
        title_tokens=6,
        query_tokens=4,
    )


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory, small_config: DataConfig) -> Path:
    """A whole shard folder; do not change it."""
    folder = tmp_path_factory.mktemp("prepared") / "shards"
    prepare(LocalEngine(random_log()), small_config, 7, Folder.at(folder))
    return folder
