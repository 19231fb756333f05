"""A small finished run: real shards, CF vectors and index, and an untrained model."""

import dataclasses
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from gensr_dist.config.root import Config, resolved_yaml
from gensr_dist.data.config import DataConfig
from gensr_dist.data.events import EVENT_SCHEMA, EventLog
from gensr_dist.data.items import ItemStore
from gensr_dist.data.preparation.local_engine import LocalEngine
from gensr_dist.data.preparation.prepare import prepare
from gensr_dist.data.shards.store import TimelineStore
from gensr_dist.graph.config import LightGCNConfig
from gensr_dist.graph.cross_fitting import train_lightgcn
from gensr_dist.model.config import ModelConfig
from gensr_dist.model.gensr import GenSR
from gensr_dist.retrieval.channels.stage import build_channels
from gensr_dist.retrieval.config import RetrievalConfig
from gensr_dist.retrieval.fusion import learnt_order
from gensr_dist.retrieval.stage import IndexStageResult, index_run
from gensr_dist.runs.folder import RunFolder
from gensr_dist.runs.trained_run import TrainedRun

USERS, ITEMS, EVENTS = 30, 80, 900
CONFIG = Config(
    seed=1,
    data=DataConfig(
        split="leave_one_out", vocabulary=400, eval_negatives=9, min_interactions=1, title_tokens=6, query_tokens=4,
        history=6,
    ),
    lightgcn=LightGCNConfig(width=8, layers=2, epochs=5, batch=256),
    model=ModelConfig(backbone="nano", cf_heads=2),
    retrieval=RetrievalConfig(candidates=25, fit_rows=40),
)  # fmt: skip


def random_log() -> EventLog:
    rng = np.random.default_rng(0)
    behaviour = rng.integers(0, 2, EVENTS)
    events = pl.DataFrame(
        {
            "user": rng.integers(0, USERS, EVENTS),
            "item": rng.integers(0, ITEMS, EVENTS),
            "behaviour": behaviour,
            "time": rng.integers(0, 10**9, EVENTS),
            "query": np.where(behaviour == 1, rng.integers(0, 6, EVENTS), -1),
            "positive": rng.random(EVENTS) < 0.7,
        },
        schema=EVENT_SCHEMA,
    )
    texts = [f"{('red', 'green', 'blue')[item % 3]} w{item} p{item // 2}" for item in range(ITEMS)]
    return EventLog(
        users=pl.DataFrame({"user_id": [f"u{user}" for user in range(USERS)]}),
        items=pl.DataFrame({"item_id": [f"i{item}" for item in range(ITEMS)], "text": texts}),
        queries=pl.DataFrame({"text": ["red", "green", "blue", "red w3", "blue w5", "thing"]}),
        events=events,
    )


@pytest.fixture(scope="session")
def indexed(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunFolder, IndexStageResult]:
    """The run, and what its index stage said: with orders fitted on so few rows as there are."""
    torch.manual_seed(0)
    run = RunFolder(Path(tmp_path_factory.mktemp("run")))
    prepare(LocalEngine(random_log()), CONFIG.data, CONFIG.seed, run.shards)
    store = TimelineStore.open(run.shards)
    parts = ((window.first_user, window.timelines) for window in store.windows())
    train_lightgcn(parts, store.users, store.items, CONFIG.lightgcn, CONFIG.seed, run.cf, run.root / "lightgcn")
    tokenizer = ItemStore.open(run.shards).tokenizer
    GenSR.build(CONFIG.model, tokenizer, CONFIG.lightgcn.width).save_pretrained(run.model, tokenizer)
    build_channels(store, ItemStore.open(run.shards), run.channels)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(learnt_order, "FEWEST", 3)
        result = index_run(TrainedRun.open(run, CONFIG), CONFIG)
    run.config.write_text(resolved_yaml(dataclasses.replace(CONFIG, run=str(run.root))), encoding="utf-8")
    return run, result


@pytest.fixture(scope="session")
def run(indexed: tuple[RunFolder, IndexStageResult]) -> RunFolder:
    """Do not change it."""
    return indexed[0]


@pytest.fixture(scope="session")
def trained(run: RunFolder) -> TrainedRun:
    """Do not change it, its model included."""
    return TrainedRun.open(run, CONFIG)
