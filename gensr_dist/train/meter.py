"""What training costs: candidates, tokens, seconds by phase, loader wait, memory.

On a GPU the host runs ahead of the device, so phases are timed by events on the device's stream, which are read when
the host has waited for the device anyway.

Dimensions as in `data/batches/batch.py`.
"""

import resource
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

import torch
from torch._C._distributed_c10d import Work

from gensr_dist.data.batches.batch import IGNORED, Batch

Phase: TypeAlias = Literal["data", "forward", "backward", "update", "communication", "validation", "checkpoint"]
PHASES: tuple[Phase, ...] = get_args(Phase)
_ON_DEVICE: tuple[Phase, ...] = ("forward", "backward", "update", "communication")


@dataclass(frozen=True, kw_only=True)
class Speed:
    """Rates of this rank since the last reading."""

    candidates: int  # of all groups
    tokens: int  # text tokens the model was shown: histories, candidates, queries
    seconds: float  # in training steps; validations and checkpoints are left out
    waited: float  # of them, for the inputs of a step: the loader, and prompts put together


class PhaseClock:
    """Seconds of each phase of this start of a run, each counted once.

    `communication` is the time for which a phase of a step stood still in the `wait` of a collective, including for
    slower ranks; what overlaps with computing costs nothing and is not in it. It is taken out of the phase around it.
    """

    def __init__(self, device: torch.device) -> None:
        self.on_gpu = device.type == "cuda"
        self.started = time.perf_counter()
        self._seconds: dict[Phase, float] = dict.fromkeys(PHASES, 0.0)
        self._open: list[Phase] = []
        self._events: list[tuple[Phase, Phase | None, torch.cuda.Event, torch.cuda.Event]] = []

    @contextmanager
    def phase(self, phase: Phase, *, behind_the_device: bool = False) -> Iterator[None]:
        """Count what happens inside as `phase`, and not as the phase around it.

        Args:
            phase: what it is.
            behind_the_device: a GPU has other work meanwhile: only the time for which it had nothing left is counted.
        """
        around = self._open[-1] if self._open else None
        self._open.append(phase)
        on_device = self.on_gpu and (behind_the_device or phase in _ON_DEVICE)
        begin = self._now(on_device)
        try:
            yield
        finally:
            self._open.pop()
            end = self._now(on_device)
            if isinstance(begin, float):
                self._add(phase, around, end - begin)
            else:
                self._events.append((phase, around, begin, end))

    @contextmanager
    def collectives(self) -> Iterator[None]:
        """Count waits for collectives inside phases of a step as communication."""
        wait = Work.wait

        def timed_wait(work: Work, *arguments: Any, **options: Any) -> bool:
            if not self._open or self._open[-1] not in ("forward", "backward", "update"):
                return wait(work, *arguments, **options)
            with self.phase("communication"):
                return wait(work, *arguments, **options)

        Work.wait = timed_wait  # type: ignore[method-assign, assignment]
        try:
            yield
        finally:
            Work.wait = wait  # type: ignore[method-assign]

    def seconds(self) -> Mapping[Phase, float]:
        """So far; waits for the device."""
        if self._events:
            torch.cuda.synchronize()
            self.settle()
        return dict(self._seconds)

    def settle(self) -> None:
        """Read the device's events that have happened, without waiting for it."""
        while self._events and self._events[0][3].query():
            phase, around, begin, end = self._events.pop(0)
            self._add(phase, around, begin.elapsed_time(end) / 1_000)

    def settled(self, phase: Phase) -> float:
        """Seconds of a phase as far as `settle` has read them."""
        return self._seconds[phase]

    def total(self) -> float:
        """Seconds since the clock was made."""
        return time.perf_counter() - self.started

    def _add(self, phase: Phase, around: Phase | None, seconds: float) -> None:
        self._seconds[phase] += seconds
        if around is not None:
            self._seconds[around] -= seconds

    def _now(self, on_device: bool) -> Any:
        """An event on the device's stream, which happens when the device has done all before it; else the time."""
        if not on_device:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event


class Meter:
    """Counts this rank's work between two readings, and all seconds spent in training steps.

    Args:
        clock: of this start; knows the time that steps stood still for their inputs.
        train_seconds: of earlier starts.
    """

    def __init__(self, clock: PhaseClock, train_seconds: float) -> None:
        self.clock = clock
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

    def count(self, batch: Batch) -> None:
        """Count a micro-batch that still lies on the CPU."""
        length_U = (batch.title_UT != 0).sum(1)
        shown = length_U[batch.history_GL].sum() + length_U[batch.candidate_GC].sum() + (batch.query_GQ != 0).sum()
        self._tokens += int(shown)
        self._candidates += int((batch.label_GC != IGNORED).sum())

    def read(self) -> Speed:
        """What happened since the last reading."""
        waited = self.clock.settled("data") - self._waited_before
        speed = Speed(candidates=self._candidates, tokens=self._tokens, seconds=self._seconds, waited=waited)
        self._clear()
        return speed

    def _clear(self) -> None:
        self._candidates = self._tokens = 0
        self._seconds = 0.0
        self._waited_before = self.clock.settled("data")


def peak_memory_gb() -> float:
    """Largest resident memory of this process so far, GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def peak_cuda_memory_gb() -> float:
    """Largest memory that tensors took on this rank's GPU so far, GB; 0 without a GPU."""
    return torch.cuda.max_memory_allocated() / 1e9 if torch.cuda.is_available() else 0.0
