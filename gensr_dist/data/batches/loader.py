"""Training batches of one rank, collated ahead of use by worker processes.

A step's batches are a function of (seed, step), so the number of workers and ranks changes nothing but the speed. All
ranks take the same steps with the same number of micro-batches, so that none waits for a batch that another lacks.
"""

import os
from collections.abc import Iterator
from functools import partial

import torch
from torch.utils.data import DataLoader, Dataset

from gensr_dist.data.batches.batch import Batch, PackedBatches
from gensr_dist.data.batches.collate import Collator
from gensr_dist.data.batches.micro_batches import MicroBatchOrder, RowTokens
from gensr_dist.data.batches.order import SampleOrder
from gensr_dist.data.forks import die_with_parent
from gensr_dist.data.negatives.sampling import TrainingNegatives
from gensr_dist.data.shared_memory import enough_shared_memory, require_semaphores
from gensr_dist.errors import InputError

PREFETCH = 4  # steps that each worker collates ahead
_REMEDY = "set train.workers to 0"


# An InputError is given and not raised: torch would turn what a worker raises into a RuntimeError.
_Collated = list[Batch] | PackedBatches | InputError


class _Steps(Dataset[_Collated]):
    """Step number -> this rank's micro-batches, packed if they are sent to another process."""

    def __init__(self, loader: "TrainingLoader") -> None:
        self.loader = loader

    def __getitem__(self, step: int) -> _Collated:
        try:
            batches = self.loader.batches_of_step(step)
            if not self.loader.workers:
                return batches
            with enough_shared_memory(_REMEDY):
                return PackedBatches.pack(batches).share_memory()
        except InputError as error:
            return error


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
                f"{order.batch} groups, but the log has only {order.rows} training rows",
                "lower it or bring a larger log",
            )
        assert order.window_rows == tuple(collator.store.window_rows), "the order is of another log"
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
        steps = range(start_step, end_step)
        if self.workers and steps:
            self.batches_of_step(start_step)  # workers share what this decodes and builds: all of a log of one window
        prefetched = DataLoader(
            _Steps(self),
            sampler=steps,
            batch_size=None,
            num_workers=self.workers,
            collate_fn=_unchanged,
            worker_init_fn=partial(_end_with, os.getpid()),
            pin_memory=torch.cuda.is_available(),
            prefetch_factor=PREFETCH if self.workers else None,
            multiprocessing_context="fork" if self.workers else None,  # shares what is decoded instead of copying it
            generator=torch.Generator(),  # leaves the global random state, and so dropout, as it is
        )
        with enough_shared_memory(_REMEDY):  # queues to the workers are made of it too
            require_semaphores(3 * self.workers + 10 if self.workers else 0)
            arriving = iter(prefetched)
        for step, collated in zip(steps, arriving, strict=True):
            if isinstance(collated, InputError):
                raise collated
            yield step, collated.unpack() if isinstance(collated, PackedBatches) else collated


def _end_with(parent: int, worker: int) -> None:
    die_with_parent(parent)


def _unchanged(value: _Collated) -> _Collated:
    return value
