"""Batches of the steps to come, collated ahead of use by worker processes."""

import os
from collections.abc import Callable, Iterator
from functools import partial
from typing import Generic, TypeVar

import torch
from torch.utils.data import DataLoader, Dataset

from gensr_dist.data.batches.packed import Packed
from gensr_dist.data.child_processes import begin_child
from gensr_dist.data.shared_memory import enough_shared_memory, require_semaphores
from gensr_dist.errors import InputError

PREFETCH = 4  # steps that each worker collates ahead
_REMEDY = "set train.workers to 0"

Made = TypeVar("Made")  # a dataclass of tensors and plain values


# An InputError is given and not raised: torch would turn what a worker raises into a RuntimeError.
class _Steps(Dataset[list[Made] | Packed[Made] | InputError], Generic[Made]):
    """Step number -> its batches, packed if they are sent to another process."""

    def __init__(self, batches_of_step: Callable[[int], list[Made]], workers: int) -> None:
        self.batches_of_step = batches_of_step
        self.workers = workers

    def __getitem__(self, step: int) -> list[Made] | Packed[Made] | InputError:
        try:
            batches = self.batches_of_step(step)
            if not self.workers:
                return batches
            with enough_shared_memory(_REMEDY):
                return Packed.pack(batches).share_memory()
        except InputError as error:
            return error


def prefetched(
    batches_of_step: Callable[[int], list[Made]], start_step: int, end_step: int, workers: int
) -> Iterator[tuple[int, list[Made]]]:
    """Yield (step, batches) for the steps [start_step, end_step), in order.

    Args:
        batches_of_step: makes them, of one class.
        start_step: first one.
        end_step: behind the last one.
        workers: processes that make them ahead; 0 makes them in this process.

    Raises:
        InputError: `batches_of_step` raised it, or there is no shared memory for what it gave.
    """
    steps = range(start_step, end_step)
    if workers and steps:
        batches_of_step(start_step)  # workers share what this decodes and builds: all of a log of one window
    prefetched = DataLoader(
        _Steps(batches_of_step, workers),
        sampler=steps,
        batch_size=None,
        num_workers=workers,
        collate_fn=_unchanged,
        worker_init_fn=partial(_end_with, os.getpid()),
        pin_memory=torch.cuda.is_available(),
        prefetch_factor=PREFETCH if workers else None,
        multiprocessing_context="fork" if workers else None,  # shares what is decoded instead of copying it
        generator=torch.Generator(),  # leaves the global random state, and so dropout, as it is
    )
    with enough_shared_memory(_REMEDY):  # queues to the workers are made of it too
        require_semaphores(3 * workers + 10 if workers else 0)
        arriving = iter(prefetched)
    for step, collated in zip(steps, arriving, strict=True):
        if isinstance(collated, InputError):
            raise collated
        yield step, collated.unpack() if isinstance(collated, Packed) else collated


def _end_with(parent: int, worker: int) -> None:
    begin_child(parent)


def _unchanged(value: Made) -> Made:
    return value
