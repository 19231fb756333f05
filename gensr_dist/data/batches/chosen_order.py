"""The order of the training rows of some tasks alone.

Dimensions: W windows, R rows.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gensr_dist.data.batches.order import SampleOrder
from gensr_dist.data.events import Behaviour
from gensr_dist.data.shards.store import TimelineStore
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


def rows_of_tasks(store: TimelineStore, tasks: frozenset[Behaviour]) -> list[NDArray[np.int64]]:
    """Global training rows of these tasks, by window.

    Raises:
        InputError: there is none.
    """
    wanted = [int(task) for task in tasks]
    row_W = [
        np.flatnonzero(np.isin(window.timelines.behaviour_N[window.training_event_R], wanted)) + window.first_row
        for window in store.windows()
    ]
    if not any(map(len, row_W)):
        raise InputError(store.folder.place, "no training row of its task", "prepare a log with such events")
    return row_W
