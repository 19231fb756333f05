"""Ways of doing the same work, each in processes of its own, that take turns in one run.

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

import torch
import torch.distributed as dist
from tqdm import tqdm

from gensr_dist.errors import InputError

Setting = TypeVar("Setting")
Work = TypeVar("Work")
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Rank:
    """One process of a way."""

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
class Spread:
    """Of alternated rounds."""

    median: float
    low: float
    high: float

    @classmethod
    def of_ratios(cls, above: Sequence[float], below: Sequence[float], digits: int = 4) -> "Spread":
        """Of the quotients, round by round."""
        ratios = [one / other for one, other in zip(above, below, strict=True)]
        return cls(*(round(value, digits) for value in (statistics.median(ratios), min(ratios), max(ratios))))


class Way(Generic[Setting, Work]):
    """One way of doing the work, in as many processes as it has ranks.

    Args:
        make: sets up a rank's work; a function that a spawned process can import by its name.
        world: ranks.
    """

    def __init__(self, make: Callable[[Setting, Rank], Work], world: int = 1) -> None:
        self.make, self.world = make, world
        self.seconds: list[float] = []  # of each round
        self.idle_gb = 0.0  # 1e9 bytes, of a process that has only imported the libraries, the largest of all ranks
        self._pipes: list[Connection] = []

    @contextmanager
    def processes(self, setting: Setting) -> Iterator[None]:
        """Start the processes, which set up; end them. They take orders after `wait_ready`."""
        context = multiprocessing.get_context("spawn")
        with tempfile.TemporaryDirectory() as meeting:
            started = []
            for rank in range(self.world):
                pipe, other = context.Pipe()
                arguments = (self.make, setting, rank, self.world, Path(meeting), other)
                process = context.Process(target=_serve, args=arguments, daemon=True)
                with _patient_threads():
                    process.start()
                other.close()
                started.append(process)
                self._pipes.append(pipe)
            try:
                yield
            finally:
                for pipe in self._pipes:
                    pipe.close()
                for process in started:
                    process.join()
                self._pipes = []

    def wait_ready(self) -> None:
        """Wait until every rank has set up its work."""
        self.idle_gb = max(_received(pipe) for pipe in self._pipes)

    def ask(self, order: Callable[[Work], Answer]) -> list[Answer]:
        """Let every rank call `order` with its work; answers in the order of ranks.

        Raises:
            InputError: a rank's process ended.
        """
        return [answer for _, answer in self._ask(order)]

    def time(self, order: Callable[[Work], Any]) -> float:
        """Seconds of the slowest rank with `order`, from the common start."""
        return max(seconds for seconds, _ in self._ask(order))

    def peak_gb(self) -> float:
        """Peak of memory so far (1e9 bytes), of the rank with the largest."""
        return max(self.ask(_peak_gb))

    def _ask(self, order: Callable[[Work], Any]) -> list[tuple[float, Any]]:
        for pipe in self._pipes:
            pipe.send(order)
        return [_received(pipe) for pipe in self._pipes]


def _received(pipe: Connection) -> Any:
    try:
        return pipe.recv()
    except (EOFError, ConnectionError):
        raise InputError(
            "gensr bench", "one of its processes ended, see above", "give smaller batches if memory was short"
        ) from None


@contextmanager
def started(ways: Sequence[Way[Setting, Any]], setting: Setting) -> Iterator[None]:
    """All ways' processes, set up."""
    with ExitStack() as stack:
        for way in ways:
            stack.enter_context(way.processes(setting))
        for way in ways:
            way.wait_ready()
        yield


def take_turns(ways: Sequence[Way[Any, Work]], order: Callable[[Work], Any], rounds: int, label: str) -> None:
    """Let started ways do `order` one after the other, round by round, and note the seconds of each.

    Args:
        ways: that are started.
        order: what a round is.
        rounds: of each way.
        label: of the progress bar.
    """
    for _ in tqdm(range(rounds), desc=label, unit="round", disable=None):
        for way in ways:
            way.seconds.append(way.time(order))


def cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0))


@contextmanager
def _patient_threads() -> Iterator[None]:
    """Let threads of processes that start here sleep at barriers.

    One that spins, while some other process has the core of the thread that it waits for, makes two threads slower than
    one: on a busy machine that measures the other process.
    """
    before = os.environ.get("OMP_WAIT_POLICY")
    os.environ["OMP_WAIT_POLICY"] = "passive"
    try:
        yield
    finally:
        del os.environ["OMP_WAIT_POLICY"]
        if before is not None:
            os.environ["OMP_WAIT_POLICY"] = before


def _serve(
    make: Callable[[Any, Rank], Any], setting: Any, rank: int, world: int, meeting: Path, pipe: Connection
) -> None:
    """Take orders until the pipe closes; answer each with its seconds and what it returned."""
    torch.set_num_threads(max(1, cores() // world))
    idle_gb = _resident_peak_gb()
    if world > 1:
        backend = "nccl" if torch.cuda.device_count() >= world else "gloo"
        dist.init_process_group(backend, init_method=f"file://{meeting}/ranks", rank=rank, world_size=world)
    on_gpu = torch.cuda.is_available()
    device = torch.device("cuda", rank % torch.cuda.device_count()) if on_gpu else torch.device("cpu")
    place = Rank(rank, world, device)
    work = make(setting, place)
    gc.collect()
    place.wait()
    pipe.send(idle_gb)
    while True:
        try:
            order = pipe.recv()
        except EOFError:
            break
        place.wait()
        began = time.perf_counter()
        answer = order(work)
        place.wait()
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
