"""Training rows of the tasks that a baseline serves, or its sequences, step by step."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gensr_dist.baselines.contract import Baseline, SequenceBaseline, Settings
from gensr_dist.data.batches.collate import Collator
from gensr_dist.data.batches.loader import TrainingLoader
from gensr_dist.data.batches.order import SampleOrder
from gensr_dist.data.batches.sequences import SequenceFeed
from gensr_dist.data.events import Behaviour
from gensr_dist.data.negatives.sampling import TrainingNegatives
from gensr_dist.data.shards.store import TimelineStore
from gensr_dist.distributed.ranks import Ranks
from gensr_dist.errors import InputError


class ChosenOrder(SampleOrder):
    """The order of `SampleOrder` over some training rows only: those of one task.

    Args:
        row_W: chosen rows of each window of the log.
        batch: rows of a step.
        seed: of the run.
    """

    def __init__(self, row_W: list[NDArray[np.int64]], batch: int, seed: int) -> None:
        super().__init__([len(rows) for rows in row_W], batch, seed)
        self._row_R = np.concatenate(row_W)

    def rows_of_step(self, step: int) -> NDArray[np.int64]:
        """Rows of a global step, int64, without padding."""
        return self._row_R[super().rows_of_step(step)]


def rows_of_tasks(store: TimelineStore, tasks: frozenset[Behaviour]) -> list[NDArray[np.int64]]:
    """Global training rows of these tasks, by window."""
    wanted = [int(task) for task in tasks]
    return [
        np.flatnonzero(np.isin(window.timelines.behaviour_N[window.training_event_R], wanted)) + window.first_row
        for window in store.windows()
    ]


class Feed:
    """What a rank trains a baseline on.

    Args:
        model: says its form and tasks.
        settings: batch and negatives.
        collator: with context.
        seed: of the run.
        ranks: this process among the others.

    Raises:
        InputError: no training row serves it, or the batch cannot be shared by the ranks.
    """

    def __init__(
        self,
        model: Baseline,
        settings: Settings,
        collator: Collator,
        seed: int,
        ranks: Ranks,
    ) -> None:
        store = collator.store
        if settings.batch % ranks.world:
            problem = f"{settings.batch} cannot be shared by {ranks.world} ranks"
            raise InputError("batch", problem, f"set it to a multiple of {ranks.world}")
        negatives = TrainingNegatives(count=settings.negatives, hard=0, popularity=None)
        self.batches_of_step: Callable[[int], list[Any]]
        if isinstance(model, SequenceBaseline):
            feed = SequenceFeed(
                collator,
                batch=settings.batch,
                seed=seed,
                negatives=negatives,
                shared=model.shared_negatives,
                rank=ranks.rank,
                world=ranks.world,
            )
            self.order, self.batches_of_step = feed.order, feed.batches_of_step
            return
        row_W = rows_of_tasks(store, model.tasks)
        rows = sum(map(len, row_W))
        if not rows:
            raise InputError(store.folder.place, "no training row of its task", "prepare a log with such events")
        self.order = ChosenOrder(row_W, min(settings.batch, rows), seed)
        loader = TrainingLoader(
            collator,
            self.order,
            seed=seed,
            negatives=negatives,
            rank=ranks.rank,
            world=ranks.world,
            micro_tokens=0,
            workers=0,
        )
        self.batches_of_step = loader.batches_of_step
