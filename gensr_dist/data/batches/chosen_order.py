"""The order of some training rows alone: those of a task, or the newest of each user.

Dimensions: W windows, R rows.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gensr_dist.data.batches.order import SampleOrder
from gensr_dist.data.events import Behaviour
from gensr_dist.data.shards.store import TimelineStore
from gensr_dist.data.timelines.rows import among_newest
from gensr_dist.errors import InputError


class ChosenOrder(SampleOrder):
    """The order of `SampleOrder` over some training rows only.

    Args:
        row_W: chosen rows of each window of the log.
        batch: rows of a step.
        seed: of the run.
    """

    def __init__(self, row_W: Sequence[NDArray[np.int64]], batch: int, seed: int) -> None:
        super().__init__([len(rows) for rows in row_W], batch, seed)
        self._row_R = np.concatenate(row_W)

    def rows_of_step(self, step: int) -> NDArray[np.int64]:
        """Rows of a global step, int64, without padding."""
        return self._row_R[super().rows_of_step(step)]


def rows_of_tasks(store: TimelineStore, tasks: frozenset[Behaviour], newest: int = 0) -> list[NDArray[np.int64]]:
    """Global training rows of these tasks, by window.

    Args:
        store: of the log.
        tasks: wanted.
        newest: rows of each user and task, the last ones; 0: all.

    Raises:
        InputError: there is none.
    """
    wanted = [int(task) for task in tasks]
    row_W = []
    for window in store.windows():
        timelines, event_R = window.timelines, window.training_event_R
        kept_R = np.isin(timelines.behaviour_N[event_R], wanted) & among_newest(timelines, event_R, newest)
        row_W.append(np.flatnonzero(kept_R) + window.first_row)
    if not any(map(len, row_W)):
        raise InputError(store.folder.place, "no training row of its task", "prepare a log with such events")
    return row_W
