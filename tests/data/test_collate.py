import dataclasses

import numpy as np
import pytest
import torch

from gensr_dist.data.batch import IGNORED, Batch
from gensr_dist.data.collate import Collator
from gensr_dist.data.events import Behaviour
from gensr_dist.data.items import ItemStore
from gensr_dist.data.splits import Split
from gensr_dist.data.store import TimelineStore
from gensr_dist.errors import InputError

HISTORY = 7


@pytest.fixture(scope="module")
def collator(small_store: TimelineStore, small_items: ItemStore, small_cf: np.ndarray) -> Collator:
    return Collator(small_store, small_items, small_cf, HISTORY)


def training(collator: Collator, rows: np.ndarray, epoch: int = 0, seed: int = 3) -> Batch:
    return collator.training(rows, epoch=epoch, seed=seed, negatives=4, step_groups=len(rows))


def catalogue_rows(batch: Batch, slots: torch.Tensor) -> np.ndarray:
    return batch.item_U[slots].numpy()


def check_item_table(collator: Collator, batch: Batch) -> None:
    item_U = batch.item_U.numpy()
    assert item_U[0] == -1
    assert len(np.unique(item_U)) == len(item_U)
    assert not batch.cf_UE[0].any()
    assert not batch.title_UT[0].any()
    assert np.array_equal(batch.cf_UE[1:].numpy(), collator.cf_IE[item_U[1:]])
    assert np.array_equal(batch.title_UT[1:].numpy(), collator.items.title_IT[item_U[1:]])
    used = torch.cat([batch.history_GL.ravel(), batch.candidate_GC.ravel(), torch.zeros(1, dtype=torch.int64)])
    assert torch.equal(used.unique(), torch.arange(len(item_U)))
    dtypes = {f.name: getattr(batch, f.name).dtype for f in dataclasses.fields(batch) if f.name != "step_groups"}
    assert dtypes.pop("cf_UE") == torch.float32
    assert set(dtypes.values()) == {torch.int64}


def expected_history(store: TimelineStore, user: int, time: int) -> tuple[list[int], list[int]]:
    """The definition, event by event: strictly earlier positives, both events of one interaction merged."""
    merged: dict[tuple[int, int], int] = {}
    timelines = store.timelines
    for event in range(timelines.user_start_V[user], timelines.user_start_V[user + 1]):
        if timelines.positive_N[event] and timelines.time_N[event] < time:
            key = (int(timelines.time_N[event]), int(timelines.item_N[event]))
            merged[key] = merged.get(key, 0) | (1 << int(timelines.behaviour_N[event]))
    newest = list(merged.items())[-HISTORY:]
    padding = [-1] * (HISTORY - len(newest))
    return [key[1] for key, _ in newest] + padding, [code for _, code in newest] + [0] * len(padding)


def test_a_training_batch_holds_what_the_log_says(collator: Collator) -> None:
    store, timelines = collator.store, collator.store.timelines
    rows_G = np.arange(0, len(collator.training_event_R), 13)
    batch = training(collator, rows_G)
    check_item_table(collator, batch)
    candidate_GC = catalogue_rows(batch, batch.candidate_GC)
    for group, row in enumerate(rows_G):
        event = collator.training_event_R[row]
        user = int(timelines.user_N[event])
        assert timelines.positive_N[event]
        assert timelines.split_N[event] == Split.TRAIN
        assert int(batch.user_G[group]) == user
        assert int(batch.task_G[group]) == timelines.behaviour_N[event]
        query = timelines.query_N[event]
        tokens = collator.items.query_QT[query] if query >= 0 else np.zeros(4)
        assert np.array_equal(batch.query_GQ[group].numpy(), tokens)
        items, codes = expected_history(store, user, int(timelines.time_N[event]))
        assert catalogue_rows(batch, batch.history_GL[group]).tolist() == items
        assert batch.behaviour_GL[group].tolist() == codes
        assert candidate_GC[group, 0] == timelines.item_N[event]
        assert len(set(candidate_GC[group])) == 5
        assert not store.met_in_training.contains(np.full(4, user), candidate_GC[group, 1:]).any()
    assert batch.label_GC.tolist() == [[1, 0, 0, 0, 0]] * len(rows_G)
    assert np.array_equal(batch.row_G.numpy(), rows_G)
    assert batch.step_groups == len(rows_G)


def test_held_out_items_are_negatives_like_any_other(collator: Collator) -> None:
    store, timelines = collator.store, collator.store.timelines
    held_out_N = timelines.split_N != Split.TRAIN
    held_out = set(zip(timelines.user_N[held_out_N].tolist(), timelines.item_N[held_out_N].tolist(), strict=True))
    drawn: set[tuple[int, int]] = set()
    rows_G = np.arange(len(collator.training_event_R))
    for epoch in range(6):
        batch = collator.training(rows_G, epoch=epoch, seed=1, negatives=4, step_groups=len(rows_G))
        negative_GC = catalogue_rows(batch, batch.candidate_GC)[:, 1:]
        for user, items in zip(batch.user_G.tolist(), negative_GC.tolist(), strict=True):
            drawn |= {(user, item) for item in items}
    users = np.unique(timelines.user_N[collator.training_event_R])
    unmet = sum(store.items - len(store.met_in_training.of_user(int(user))) for user in users)
    held_out = {(u, i) for u, i in held_out if u in set(users.tolist())}
    held_out -= {(u, i) for u, i in held_out if store.met_in_training.contains(np.array([u]), np.array([i]))[0]}
    assert 0.5 < (len(held_out & drawn) / len(held_out)) / (len(drawn) / unmet) < 2


def test_a_row_does_not_depend_on_its_batch(collator: Collator) -> None:
    rows_G = np.array([3, 99, 41, 7])
    together = training(collator, rows_G)
    for group, row in enumerate(rows_G):
        alone = training(collator, np.array([row]))
        for slots in ("history_GL", "candidate_GC"):
            expected = catalogue_rows(together, getattr(together, slots)[group])
            assert np.array_equal(catalogue_rows(alone, getattr(alone, slots)[0]), expected)


def test_negatives_change_with_epoch_and_seed_only(collator: Collator) -> None:
    rows_G = np.arange(50)
    first, again = (catalogue_rows(batch, batch.candidate_GC) for batch in (training(collator, rows_G),) * 2)
    assert np.array_equal(first, again)
    for other in (training(collator, rows_G, epoch=1), training(collator, rows_G, seed=4)):
        candidate_GC = catalogue_rows(other, other.candidate_GC)
        assert np.array_equal(candidate_GC[:, 0], first[:, 0])
        assert np.mean(candidate_GC[:, 1:] == first[:, 1:]) < 0.2


@pytest.mark.parametrize("rows", [[5, -1, 9, -1], [-1, -1]])
def test_padded_groups_are_empty(collator: Collator, rows: list[int]) -> None:
    batch = training(collator, np.array(rows))
    check_item_table(collator, batch)
    assert batch.row_G.tolist() == rows
    padded = batch.row_G == -1
    for name in ("user_G", "task_G", "query_GQ", "history_GL", "behaviour_GL", "candidate_GC"):
        values = getattr(batch, name)
        assert values.shape[0] == len(rows)
        assert not values[padded].any()
    assert (batch.label_GC[padded] == IGNORED).all()
    real = [row for row in rows if row >= 0]
    if real:
        alone = training(collator, np.array(real))
        assert torch.equal(alone.label_GC, batch.label_GC[~padded])
        assert torch.equal(alone.history_GL, batch.history_GL[~padded])
        assert torch.equal(alone.candidate_GC, batch.candidate_GC[~padded])


@pytest.mark.parametrize("task", list(Behaviour))
def test_an_evaluation_batch_holds_the_frozen_candidates(collator: Collator, task: Behaviour) -> None:
    rows = collator.store.eval_rows(Split.TEST, task)
    batch = collator.evaluation(rows)
    check_item_table(collator, batch)
    assert np.array_equal(catalogue_rows(batch, batch.candidate_GC), rows.candidate_RC)
    assert np.array_equal(batch.user_G.numpy(), rows.user_R)
    assert (batch.task_G == task).all()
    assert bool(batch.query_GQ.any()) == (task == Behaviour.SEARCH)
    for group in range(0, len(rows), 9):
        time = collator.store.timelines.time_N[rows.event_R[group]]
        items, _ = expected_history(collator.store, int(rows.user_R[group]), int(time))
        assert catalogue_rows(batch, batch.history_GL[group]).tolist() == items
    assert batch.label_GC[:, 0].eq(1).all()
    assert batch.label_GC[:, 1:].eq(0).all()


def test_a_serving_batch_takes_any_candidates(collator: Collator) -> None:
    user_G = np.array([2, 0])
    end_G = collator.store.histories.end_of_user_V[user_G]
    query_GQ = np.array([[4, 1, 0], [0, 0, 0]])
    candidate_GC = np.array([[3, 3, 8], [1, 0, -1]])
    batch = collator.query(user_G, end_G, np.array([1, 0]), query_GQ, candidate_GC)
    check_item_table(collator, batch)
    assert np.array_equal(catalogue_rows(batch, batch.candidate_GC), candidate_GC)
    assert batch.label_GC.tolist() == [[0, 0, 0], [0, 0, IGNORED]]
    assert batch.query_GQ.tolist() == query_GQ.tolist()
    items, _ = expected_history(collator.store, 2, np.iinfo(np.int64).max)
    assert catalogue_rows(batch, batch.history_GL[0]).tolist() == items


def test_vectors_of_another_catalogue_are_refused(collator: Collator) -> None:
    with pytest.raises(
        InputError, match=r"cf/items\.npy: 3 vectors for a catalogue of \d+ items; run `gensr lightgcn`"
    ):
        Collator(collator.store, collator.items, collator.cf_IE[:3], HISTORY)


def test_too_many_negatives_are_refused(collator: Collator) -> None:
    with pytest.raises(InputError, match="has met"):
        collator.training(np.arange(9), epoch=0, seed=0, negatives=collator.store.items, step_groups=9)
