"""Orders over the rows of one task, and over the newest ones."""

import numpy as np
import pytest

from gensr_dist.data.batches.chosen_order import ChosenOrder, rows_of_tasks
from gensr_dist.data.events import Behaviour
from gensr_dist.data.shards.store import TimelineStore


def behaviours(store: TimelineStore) -> np.ndarray:
    return np.concatenate([window.timelines.behaviour_N[window.training_event_R] for window in store.windows()])


@pytest.mark.parametrize("tasks", [{Behaviour.RECOMMENDATION}, {Behaviour.SEARCH}, set(Behaviour)])
def test_an_epoch_holds_each_row_of_the_tasks_once(small_store: TimelineStore, tasks: set[Behaviour]) -> None:
    order = ChosenOrder(rows_of_tasks(small_store, frozenset(tasks)), batch=7, seed=3)
    seen = np.concatenate([order.rows_of_step(step) for step in range(order.steps_per_epoch)])
    behaviour_R = behaviours(small_store)
    assert np.array_equal(np.sort(seen), np.flatnonzero(np.isin(behaviour_R, [int(task) for task in tasks])))
    assert sum(order.groups_of_step(step) for step in range(order.steps_per_epoch)) == len(seen)


@pytest.mark.parametrize("newest", [1, 3])
def test_the_newest_rows_of_each_user_and_task_are_kept(small_store: TimelineStore, newest: int) -> None:
    kept = set(np.concatenate(rows_of_tasks(small_store, frozenset(Behaviour), newest)).tolist())
    for window in small_store.windows():
        rows: dict[tuple[int, int], list[int]] = {}
        for row, event in enumerate(window.training_event_R.tolist()):
            key = int(window.timelines.user_of(np.array([event]))[0]), int(window.timelines.behaviour_N[event])
            rows.setdefault(key, []).append(row + window.first_row)
        assert any(len(own) > newest for own in rows.values())
        for own in rows.values():
            assert [row for row in own if row in kept] == own[-newest:]
    assert kept <= set(range(sum(small_store.window_rows)))
