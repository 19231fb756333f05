"""What training costs: rows, tokens, seconds, loader wait, memory."""

import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from gensr_dist.data.batch import IGNORED, Batch


@dataclass(frozen=True, kw_only=True)
class Speed:
    """Rates of this rank since the last reading."""

    rows: int  # prompts: candidates of all groups
    tokens: int  # text tokens the model was shown: histories, candidates, queries
    seconds: float  # in training steps; validations and checkpoints are left out
    waited: float  # of them, for the loader


class Meter:
    """Counts this rank's work between two readings, and all seconds spent in training steps."""

    def __init__(self, train_seconds: float) -> None:
        self.train_seconds = train_seconds
        self._clear()

    @contextmanager
    def step(self) -> Iterator[None]:
        """Time what happens inside as training."""
        started = time.perf_counter()
        try:
            yield
        finally:
            elapsed = time.perf_counter() - started
            self._seconds += elapsed
            self.train_seconds += elapsed

    @contextmanager
    def wait(self) -> Iterator[None]:
        """Time what happens inside as training that waits for the loader."""
        before = self._seconds
        with self.step():
            yield
        self._waited += self._seconds - before

    def count(self, batch: Batch) -> None:
        """Count a micro-batch that still lies on the CPU."""
        length_U = (batch.title_UT != 0).sum(1)
        shown = length_U[batch.history_GL].sum() + length_U[batch.candidate_GC].sum() + (batch.query_GQ != 0).sum()
        self._tokens += int(shown)
        self._rows += int((batch.label_GC != IGNORED).sum())

    def read(self) -> Speed:
        """What happened since the last reading."""
        speed = Speed(rows=self._rows, tokens=self._tokens, seconds=self._seconds, waited=self._waited)
        self._clear()
        return speed

    def _clear(self) -> None:
        self._rows = self._tokens = 0
        self._seconds = self._waited = 0.0


def peak_memory_gb() -> float:
    """Largest resident memory of this process so far, GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def peak_cuda_memory_gb() -> float:
    """Largest memory that tensors took on this rank's GPU so far, GB; 0 without a GPU."""
    return torch.cuda.max_memory_allocated() / 1e9 if torch.cuda.is_available() else 0.0
