"""Interleaved A/B: variants of one piece of work, each in processes of its own, measured round by round in one run.

So whatever else the machine does meets all of them, and each has a peak of memory of its own.
"""

import gc
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Generic, TypeVar
from unittest import mock

import torch
import torch.distributed as dist
from tqdm import tqdm

from gensr_dist.errors import InputError

Given = TypeVar("Given")
Made = TypeVar("Made")
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Worker:
    """One process of a variant."""

    rank: int
    world: int
    device: torch.device

    def wait(self) -> None:
        """Return when every rank is here and its device has nothing left to do."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        if self.world > 1:
            dist.barrier()


@dataclass(frozen=True)
class RatioRange:
    """Ratios of alternated rounds: their median, least and greatest."""

    median: float
    low: float
    high: float

    @classmethod
    def of_ratios(cls, above: Sequence[float], below: Sequence[float], digits: int = 4) -> "RatioRange":
        """Ratios round by round."""
        ratios = [one / other for one, other in zip(above, below, strict=True)]
        return cls(*(round(value, digits) for value in (statistics.median(ratios), min(ratios), max(ratios))))


class Variant(Generic[Given, Made]):
    """One way of doing the work, in as many processes as it has ranks.

    Args:
        make: sets up a rank's part; a function that a spawned process can import by its name.
        world: ranks.
    """

    def __init__(self, make: Callable[[Given, Worker], Made], world: int = 1) -> None:
        self.make, self.world = make, world
        self.seconds: list[float] = []  # of each round
        self.idle_gb = 0.0  # 1e9 bytes, of a process that has only imported the libraries, the largest of all ranks
        self.pipes: list[Connection] = []

    @contextmanager
    def processes(self, given: Given) -> Iterator[None]:
        """Start the processes, which set up; end them."""
        context = multiprocessing.get_context("spawn")
        with tempfile.TemporaryDirectory() as meeting:
            started = []
            for rank in range(self.world):
                pipe, other = context.Pipe()
                arguments = (self.make, given, rank, self.world, Path(meeting), other)
                process = context.Process(target=_serve, args=arguments, daemon=True)
                # Threads that spin at barriers while some other process has the core of the one that they wait for
                # make two threads slower than one: on a busy machine that measures the other process.
                with mock.patch.dict(os.environ, OMP_WAIT_POLICY="passive"):
                    process.start()
                other.close()
                started.append(process)
                self.pipes.append(pipe)
            try:
                yield
            finally:
                for pipe in self.pipes:
                    pipe.close()
                for process in started:
                    process.join()
                self.pipes = []

    def ask(self, order: Callable[[Made], Answer]) -> Answer:
        """Let every rank call `order` with what it set up; the answer of the first.

        Raises:
            InputError: a rank's process ended.
        """
        return self._ask(order)[0][1]

    def time(self, order: Callable[[Made], Any]) -> float:
        """Seconds of the slowest rank with `order`, from the common start."""
        return max(seconds for seconds, _ in self._ask(order))

    def peak_gb(self) -> float:
        """Peak of memory so far (1e9 bytes), of the rank with the largest."""
        return max(peak for _, peak in self._ask(_peak_gb))

    def _ask(self, order: Callable[[Made], Answer]) -> list[tuple[float, Answer]]:
        for pipe in self.pipes:
            pipe.send(order)
        return [_received(pipe) for pipe in self.pipes]


def _received(pipe: Connection) -> Any:
    try:
        return pipe.recv()
    except (EOFError, ConnectionError):
        raise InputError(
            "gensr bench", "one of its processes ended, see above", "give smaller batches if memory was short"
        ) from None


@contextmanager
def running(variants: Sequence[Variant[Given, Any]], given: Given) -> Iterator[None]:
    """All variants' processes, set up and ready for orders."""
    with ExitStack() as stack:
        for variant in variants:
            stack.enter_context(variant.processes(given))
        for variant in variants:
            variant.idle_gb = max(_received(pipe) for pipe in variant.pipes)
        yield


def interleave(variants: Sequence[Variant[Any, Made]], order: Callable[[Made], Any], rounds: int, label: str) -> None:
    """Let running variants do `order` one after the other, round by round, and note the seconds of each."""
    for _ in tqdm(range(rounds), desc=label, unit="round", disable=None):
        for variant in variants:
            variant.seconds.append(variant.time(order))


def cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0))


def _serve(
    make: Callable[[Any, Worker], Any], given: Any, rank: int, world: int, meeting: Path, pipe: Connection
) -> None:
    """Take orders until the pipe closes; answer each with its seconds and what it returned."""
    torch.set_num_threads(max(1, cores() // world))
    idle_gb = _resident_peak_gb()
    if world > 1:
        backend = "nccl" if torch.cuda.device_count() >= world else "gloo"
        dist.init_process_group(backend, init_method=f"file://{meeting}/ranks", rank=rank, world_size=world)
    on_gpu = torch.cuda.is_available()
    device = torch.device("cuda", rank % torch.cuda.device_count()) if on_gpu else torch.device("cpu")
    worker = Worker(rank, world, device)
    made = make(given, worker)
    gc.collect()
    worker.wait()
    pipe.send(idle_gb)
    while True:
        try:
            order = pipe.recv()
        except EOFError:
            break
        worker.wait()
        began = time.perf_counter()
        answer = order(made)
        worker.wait()
        pipe.send((time.perf_counter() - began, answer))
    if world > 1:
        dist.destroy_process_group()


def _peak_gb(_: Any) -> float:
    if torch.cuda.is_available():
        return round(torch.cuda.max_memory_allocated() / 1e9, 3)
    return _resident_peak_gb()


def _resident_peak_gb() -> float:
    """Largest resident size of this process so far; unlike `ru_maxrss` it knows nothing of the parent's."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
    return round(int(line.split()[1]) * 1024 / 1e9, 3)
