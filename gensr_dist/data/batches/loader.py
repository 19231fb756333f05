"""Training batches of one rank, collated ahead of use by worker processes.

A step's batches are a function of (seed, step), so the number of workers and ranks changes nothing but the speed. All
ranks take the same steps with the same number of micro-batches, so that none waits for a batch that another lacks.
"""

from collections.abc import Iterator

from gensr_dist.data.batches.batch import Batch
from gensr_dist.data.batches.collate import Collator
from gensr_dist.data.batches.micro_batches import MicroBatchOrder, RowTokens
from gensr_dist.data.batches.order import SampleOrder
from gensr_dist.data.batches.prefetch import prefetched
from gensr_dist.data.negatives.sampling import TrainingNegatives
from gensr_dist.errors import InputError


class TrainingLoader:
    """Gives a rank its micro-batches step by step, from any step on.

    Args:
        collator: builds batches.
        order: rows of each global step; its `batch` counts groups over all ranks and micro-batches.
        seed: of the run; with the epoch and row it fixes the negatives.
        negatives: draws those of each group.
        rank: of this process.
        world: ranks.
        micro_tokens: most tokens of a micro-batch, all ranks together; 0 makes a step one micro-batch.
        workers: processes that collate ahead; 0 collates in this process.

    Raises:
        InputError: the global batch cannot be cut evenly, or is larger than an epoch.
    """

    def __init__(
        self,
        collator: Collator,
        order: SampleOrder,
        *,
        seed: int,
        negatives: TrainingNegatives,
        rank: int,
        world: int,
        micro_tokens: int,
        workers: int,
    ) -> None:
        if order.batch % world:
            raise InputError(
                "train.batch",
                f"{order.batch} groups cannot be shared by {world} ranks",
                f"make it a multiple of {world}, such as {max(1, round(order.batch / world)) * world}",
            )
        if order.batch > order.rows:  # padding would be computed on in every step
            raise InputError(
                "train.batch",
                f"{order.batch} groups, but only {order.rows} rows are trained on",
                "lower it, bring a larger log, or raise train.newest_rows",
            )
        self.collator = collator
        self.order = order
        tokens = RowTokens(collator.store, collator.items, collator.history, candidates=1 + negatives.count)
        self.micro_batches = MicroBatchOrder(order, tokens, micro_tokens)
        self.seed = seed
        self.negatives = negatives
        self.rank = rank
        self.world = world
        self.workers = workers

    def batches_of_step(self, step: int) -> list[Batch]:
        """This rank's micro-batches of a global step, collated here and now."""
        return [
            self.collator.training(
                rows_WG[self.rank],
                epoch=self.order.epoch_of_step(step),
                seed=self.seed,
                negatives=self.negatives,
                step_groups=self.order.groups_of_step(step),
            )
            for rows_WG in self.micro_batches.rows_of_step(step, self.world)
        ]

    def batches(self, start_step: int, end_step: int) -> Iterator[tuple[int, list[Batch]]]:
        """Yield (step, micro-batches) for the steps [start_step, end_step), in order.

        Raises:
            InputError: a step cannot be collated, for example because a user has seen nearly every item, or there is no
                shared memory for it.
        """
        return prefetched(self.batches_of_step, start_step, end_step, self.workers)
