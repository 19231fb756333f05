"""Training rows of the tasks that a baseline serves, or its sequences, step by step.

Dimensions: W windows.
"""

from collections.abc import Callable
from typing import Any

from gensr_dist.baselines.contract import Baseline, SequenceBaseline, Settings
from gensr_dist.data.batches.chosen_order import ChosenOrder, rows_of_tasks
from gensr_dist.data.batches.collate import Collator
from gensr_dist.data.batches.loader import TrainingLoader
from gensr_dist.data.batches.order import SampleOrder
from gensr_dist.data.batches.sequences import SequenceLoader
from gensr_dist.data.negatives.sampling import TrainingNegatives
from gensr_dist.distributed.ranks import Ranks
from gensr_dist.errors import InputError


class BaselineLoader:
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
        self.order: SampleOrder
        self.batches_of_step: Callable[[int], list[Any]]
        if isinstance(model, SequenceBaseline):
            sequences = SequenceLoader(
                collator,
                batch=settings.batch,
                seed=seed,
                negatives=negatives,
                shared=model.shared_negatives,
                rank=ranks.rank,
                world=ranks.world,
            )
            self.order, self.batches_of_step = sequences.order, sequences.batches_of_step
            return
        row_W = rows_of_tasks(store, model.tasks)
        self.order = ChosenOrder(row_W, min(settings.batch, sum(map(len, row_W))), seed)
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
