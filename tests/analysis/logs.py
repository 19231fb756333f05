"""Logs written down in tests, event by event, and prepared."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import polars as pl

from gensr_dist.data.config import DataConfig
from gensr_dist.data.events import EVENT_SCHEMA, ITEM_SCHEMA, QUERY_SCHEMA, USER_SCHEMA, EventLog
from gensr_dist.data.preparation.local_engine import LocalEngine
from gensr_dist.data.preparation.prepare import prepare
from gensr_dist.storage.folder import Folder

REC, SEARCH = 0, 1
Event = tuple[int, int, int, int, int]  # user, item, behaviour, time in milliseconds, query (-1 for none)

CONFIG = DataConfig(
    split="leave_one_out",
    min_interactions=1,
    both_behaviours=False,
    vocabulary=300,
    title_tokens=6,
    query_tokens=4,
    eval_negatives=2,
    users_per_sample=8,
)


def log_of(events: Sequence[Event], texts: Sequence[str], queries: Sequence[str] = ()) -> EventLog:
    """A log of positive events; items without any are dropped when it is prepared."""
    users = 1 + max(event[0] for event in events)
    columns = dict(zip(("user", "item", "behaviour", "time", "query"), zip(*events, strict=True), strict=True))
    return EventLog(
        users=pl.DataFrame({"user_id": [f"u{n}" for n in range(users)]}, schema=USER_SCHEMA),
        items=pl.DataFrame({"item_id": [f"i{n}" for n in range(len(texts))], "text": texts}, schema=ITEM_SCHEMA),
        queries=pl.DataFrame({"text": list(queries)}, schema=QUERY_SCHEMA),
        events=pl.DataFrame({**columns, "positive": True}).cast(dict(EVENT_SCHEMA)),
    )


def prepared(folder: Path, log: EventLog, **settings: object) -> Folder:
    """Its shards."""
    shards = Folder.at(folder / "shards")
    prepare(LocalEngine(log), replace(CONFIG, **settings), 0, shards)  # type: ignore[arg-type]
    return shards
