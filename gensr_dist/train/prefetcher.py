"""Inputs of the steps, one step ahead of their use.

The host makes the next step's inputs and sends them off while the device still computes; it waits for the device only
afterwards, at the end of the step.
"""

from collections.abc import Iterator

import torch

from gensr_dist.data.batches.batch import Batch
from gensr_dist.errors import InputError
from gensr_dist.model.inputs import InputBuilder, ModelInput

Step = tuple[int, list[tuple[Batch, ModelInput]]]  # its number, and each micro-batch on the host and on the device


class Prefetcher:
    """Steps with their micro-batches on the device.

    Args:
        batches: steps with their micro-batches on the host, in order.
        builder: of the model.
        device: of the model.
    """

    def __init__(self, batches: Iterator[tuple[int, list[Batch]]], builder: InputBuilder, device: torch.device) -> None:
        self.batches = batches
        self.builder = builder
        self.device = device
        self._next: Step | InputError | None = None

    def take(self) -> Step:
        """The next step.

        Raises:
            InputError: it cannot be collated.
        """
        self.prepare()
        taken, self._next = self._next, None
        if isinstance(taken, InputError):
            raise taken
        assert taken is not None, "no step is left"
        return taken

    def prepare(self) -> None:
        """Make the step after the one that was taken, if there is one and it is not made yet.

        What is wrong with it is raised when it is taken: the step before it is not finished yet.
        """
        if self._next is not None:
            return
        try:
            step = next(self.batches, None)
        except InputError as error:
            self._next = error
            return
        if step is not None:
            number, batches = step
            self._next = (number, [(batch, self.builder(batch, training=True).to(self.device)) for batch in batches])
