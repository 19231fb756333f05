"""What a batch with context shows besides, and that no row sees the query of its own moment."""

import dataclasses

import numpy as np
import torch

from gensr_dist.data.batches.batch import Batch, ContextBatch
from gensr_dist.data.batches.collate import Collator
from gensr_dist.data.item_vectors import ItemVectors
from gensr_dist.data.items import ItemStore
from gensr_dist.data.negatives.sampling import TrainingNegatives
from gensr_dist.data.shards.store import TimelineStore
from gensr_dist.data.timelines.rows import training_rows
from gensr_dist.data.timelines.splits import Split
from tests.baselines.builders import context_collator

HISTORY = 6
TWO = TrainingNegatives(count=2, hard=0, popularity=None)


def training(collator: Collator, rows: np.ndarray) -> Batch:
    return collator.training(rows, epoch=0, seed=0, negatives=TWO, step_groups=len(rows))


def test_the_rest_is_that_of_a_batch_without(
    small_store: TimelineStore, small_items: ItemStore, small_cf: np.ndarray
) -> None:
    with_context = training(context_collator(small_store, small_items, small_cf, HISTORY), np.arange(50))
    without = training(Collator(small_store, small_items, ItemVectors(small_cf), HISTORY), np.arange(50))
    assert isinstance(with_context, ContextBatch)
    assert not isinstance(without, ContextBatch)
    for field in dataclasses.fields(without):
        expected, found = getattr(without, field.name), getattr(with_context, field.name)
        assert torch.equal(found, expected) if isinstance(expected, torch.Tensor) else found == expected


def test_queries_and_times_are_those_of_strictly_earlier_interactions(
    small_store: TimelineStore, small_items: ItemStore, small_cf: np.ndarray
) -> None:
    """The twin of a target, whose query would tell it, is never among them."""
    window = small_store.window(0)
    log, event_R = window.timelines, training_rows(window.timelines)
    batch = training(context_collator(small_store, small_items, small_cf, HISTORY), np.arange(len(event_R)))
    assert isinstance(batch, ContextBatch)
    asked = twins = 0
    for row, event in enumerate(event_R.tolist()):
        user, now = int(log.user_of(np.array([event]))[0]), int(log.time_N[event])
        own = slice(*log.user_start_V[user : user + 2])
        merged: dict[tuple[int, int], int] = {}
        for n in range(own.start, own.stop):
            if log.positive_N[n] and log.time_N[n] < now:
                key = (int(log.time_N[n]), int(log.item_N[n]))
                query = int(log.query_N[n])
                merged[key] = query if query >= 0 else merged.get(key, -1)
        expected = list(merged.items())[-HISTORY:]
        length = int((batch.history_GL[row] > 0).sum())
        assert batch.time_GL[row].tolist() == [time for (time, _), _ in expected] + [0] * (HISTORY - length)
        assert int(batch.now_G[row]) == now
        for place, (_, query) in enumerate(expected):
            words = batch.query_KQ[batch.history_query_GL[row, place]]
            assert words.tolist() == (small_items.query_QT[query].tolist() if query >= 0 else [0] * len(words))
            asked += query >= 0
        same_moment = (log.time_N[own] == now) & (log.item_N[own] == log.item_N[event])
        twins += int(same_moment.sum()) > 1
    assert asked > 100
    assert twins > 50


def test_held_out_rows_have_it_too(small_store: TimelineStore, small_items: ItemStore, small_cf: np.ndarray) -> None:
    collator = context_collator(small_store, small_items, small_cf, HISTORY)
    for task in (0, 1):
        rows = small_store.eval_rows(Split.TEST, task)
        batch = collator.evaluation(rows)
        assert isinstance(batch, ContextBatch)
        time_N = small_store.window(0).timelines.time_N
        assert batch.now_G.tolist() == time_N[rows.event_R].tolist()
        assert (batch.time_GL < batch.now_G[:, None]).all()
        assert torch.equal(batch.time_GL > 0, batch.history_GL > 0)
        assert (batch.history_query_GL > 0).any()
        assert not batch.query_KQ[0].any()
