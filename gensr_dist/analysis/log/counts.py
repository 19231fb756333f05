"""Counts of a log, a window of its shards at a time, without a loop over events.

An interaction is a positive event, with its twin (the same user, item and moment in the other task) counted once. What
a row's history holds ends before the row's own moment, so a twin is no history of its other.

Dimensions: N events, M interactions, V users, R rows, I items, U distinct (user, item) pairs, X any values.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from gensr_dist.data.events import BOTH_BITS, Behaviour
from gensr_dist.data.shards.store import Window
from gensr_dist.data.timelines.splits import Split

Int = NDArray[np.int64]


@dataclass
class TaskCounts:
    """Of one task."""

    training_I: Int  # positive training events of each item
    events: int = 0
    positives: int = 0
    users: int = 0  # with a positive
    test: int = 0  # rows
    cold: int = 0  # test rows whose item has no training event of either task
    rare: int = 0  # whose item has 1 to RARE of them
    met: int = 0  # whose item is in the history
    empty: int = 0  # without a history
    tied: int = 0  # at a moment at which the user chose something else too
    trained: int = 0  # training rows
    trained_met: int = 0  # whose item is in the history
    history_R: list[Int] = field(default_factory=list)  # interactions before each test row, by window


@dataclass
class LogCounts:
    """Of all windows that were counted."""

    tasks: Mapping[Behaviour, TaskCounts]
    users: int = 0  # with an event
    events: int = 0
    interactions: int = 0
    twins: int = 0  # interactions of both tasks
    repeats: int = 0  # interactions with an item that the user had met
    tied: int = 0  # interactions at a moment at which the user chose something else too
    both_users: int = 0  # with positives of both tasks
    length_V: list[Int] = field(default_factory=list)  # interactions of each user with an event, by window

    @property
    def lengths(self) -> Int:
        """Interactions of each user with an event."""
        return np.concatenate(self.length_V) if self.length_V else np.empty(0, dtype=np.int64)


RARE = 4  # training events


def count_log(windows: Iterable[Window], popularity_I: NDArray[np.integer]) -> LogCounts:
    """Count in one pass.

    Args:
        windows: of the log, or of some of its shards.
        popularity_I: positive training events of each item in the whole log.
    """
    tasks = {task: TaskCounts(np.zeros(len(popularity_I), dtype=np.int64)) for task in Behaviour}
    counts = LogCounts(tasks=tasks)
    for window in windows:
        _count(window, counts, popularity_I)
    return counts


def _count(window: Window, counts: LogCounts, popularity_I: NDArray[np.integer]) -> None:
    timelines, histories = window.timelines, window.histories
    length_V = np.diff(histories.user_start_V)
    has_events_V = np.diff(timelines.user_start_V) > 0
    user_M = np.repeat(np.arange(timelines.users), length_V)
    pair_U, first_U = np.unique(user_M * window.items + histories.item_M, return_index=True)
    tied_M = _tied(user_M, window.moments.time_M)
    counts.users += int(has_events_V.sum())
    counts.events += len(timelines.item_N)
    counts.interactions += len(user_M)
    counts.twins += int((histories.behaviour_M == BOTH_BITS).sum())
    counts.repeats += len(user_M) - len(pair_U)
    counts.tied += int(tied_M.sum())
    counts.length_V.append(length_V[has_events_V])

    has_V = np.ones(timelines.users, dtype=bool)
    for task, found in counts.tasks.items():
        of_task_N = timelines.behaviour_N == task
        (event_X,) = np.nonzero(of_task_N & timelines.positive_N)
        users_X = np.unique(timelines.user_of(event_X))
        has_V &= np.isin(np.arange(timelines.users), users_X)
        found.events += int(of_task_N.sum())
        found.positives += len(event_X)
        found.users += len(users_X)
        split_X = timelines.split_N[event_X]
        trained_R, test_R = event_X[split_X == Split.TRAIN], event_X[split_X == Split.TEST]
        found.training_I += np.bincount(timelines.item_N[trained_R], minlength=len(popularity_I))
        found.trained += len(trained_R)
        found.trained_met += int(_met(window, trained_R, pair_U, first_U).sum())
        found.test += len(test_R)
        found.met += int(_met(window, test_R, pair_U, first_U).sum())
        popularity_R = popularity_I[timelines.item_N[test_R]]
        found.cold += int((popularity_R == 0).sum())
        found.rare += int(((popularity_R > 0) & (popularity_R <= RARE)).sum())
        before_R = histories.end_of_event_N[test_R] - histories.user_start_V[timelines.user_of(test_R)]
        found.history_R.append(before_R)
        found.empty += int((before_R == 0).sum())
        found.tied += int(tied_M[_interaction_of(window, test_R)].sum())
    counts.both_users += int(has_V.sum())


def _tied(user_M: Int, time_M: Int) -> NDArray[np.bool_]:
    """Whether the interaction before or after is of the same user and moment."""
    same_M = np.zeros(len(user_M) + 1, dtype=bool)
    same_M[1:-1] = (user_M[1:] == user_M[:-1]) & (time_M[1:] == time_M[:-1])
    return same_M[1:] | same_M[:-1]


def _met(window: Window, event_R: Int, pair_U: Int, first_U: Int) -> NDArray[np.bool_]:
    """Whether each (positive) event's item is in its history, however long ago.

    Args:
        window: of the events.
        event_R: local.
        pair_U: distinct user x items + item, ascending.
        first_U: the first interaction of each.
    """
    timelines = window.timelines
    pair_R = timelines.user_of(event_R) * window.items + timelines.item_N[event_R]
    first_R = first_U[np.searchsorted(pair_U, pair_R)] if len(pair_U) else np.empty(0, dtype=np.int64)
    return first_R < window.histories.end_of_event_N[event_R]


def _interaction_of(window: Window, event_R: Int) -> Int:
    """An interaction of each (positive) event's moment: the first after its history."""
    return window.histories.end_of_event_N[event_R].astype(np.int64)
