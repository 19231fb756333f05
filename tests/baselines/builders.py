"""What the tests of all baselines share: a small log, small settings, batches."""

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gensr_dist.baselines.contract import Baseline, LogFacts, Settings
from gensr_dist.baselines.registry import BASELINES
from gensr_dist.baselines.weights import training_edges
from gensr_dist.data.batches.batch import ContextBatch
from gensr_dist.data.batches.collate import Collator
from gensr_dist.data.events import Behaviour
from gensr_dist.data.item_vectors import ItemVectors
from gensr_dist.data.items import ItemStore
from gensr_dist.data.shards.store import TimelineStore
from gensr_dist.data.timelines.rows import EvalRows
from gensr_dist.data.timelines.splits import Split
from gensr_dist.graph.edges import Edges

HISTORY = 5
# Settings that make a model small enough for a test, where it has them.
SMALL = {"width": 16, "history": HISTORY, "heads": 2, "negatives": 2, "shared": 8, "dropout": 0.0}


def small_settings(name: str, **changes: Any) -> Settings:
    """The published settings of a baseline, made small and without dropout."""
    settings = BASELINES[name].settings()
    own = {key: value for key, value in {**SMALL, **changes}.items() if hasattr(settings, key)}
    return replace(settings, **own)


def small_facts(store: TimelineStore, items: ItemStore, cf: np.ndarray) -> LogFacts:
    return LogFacts(
        items=store.items,
        users=store.users,
        tokenizer=items.tokenizer,
        cf_width=cf.shape[1],
        cf_scale=1.0,
        popularity_I=items.popularity_I,
        title_IT=items.title_IT,
        edges=partial(training_edges, store),
    )


def no_edges() -> Edges:
    """Of a log that is made by hand."""
    return Edges(key_Z=np.empty(0, dtype=np.int64), users=1, items=1)


def small_model(name: str, facts: LogFacts, seed: int = 0, **changes: Any) -> Baseline:
    """A baseline whose weights are so large that all of its inputs matter."""
    torch.manual_seed(seed)
    model = BASELINES[name].build(small_settings(name, **changes), facts)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=0.5)
    return model.eval()


def context_collator(store: TimelineStore, items: ItemStore, cf: np.ndarray, history: int = HISTORY) -> Collator:
    return Collator(store, items, ItemVectors(cf), history, context=True)


def task_of(name: str) -> Behaviour:
    """One task that a baseline serves."""
    return min(BASELINES[name].model.tasks)


def rows_of(store: TimelineStore, task: Behaviour, count: int) -> EvalRows:
    """Held-out rows of a task, those with the longest histories first."""
    rows = store.eval_rows(Split.TEST, task)
    start_R, _ = store.history_span(rows.user_R)
    return rows.take(np.argsort(start_R - rows.history_end_R, kind="stable")[:count])


def batch_of(collator: Collator, rows: EvalRows) -> ContextBatch:
    batch = collator.evaluation(rows)
    assert isinstance(batch, ContextBatch)
    return batch


def scores(model: Baseline, batch: ContextBatch) -> Tensor:
    with torch.no_grad():
        return model.score(batch)
