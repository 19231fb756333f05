"""Kills of a training run and what they cost: SIGKILL at random moments, each time resumed by the same command.

The run is small. A twin that nobody kills says what its weights and the rows of its updates must be; both tell them in
their events.
"""

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from tqdm import tqdm

from gensr_dist.bench.commands import SMALL_RUN, config_of, prepared_run, twin_of
from gensr_dist.bench.ports import free_port
from gensr_dist.errors import InputError
from gensr_dist.runs.folder import RunFolder
from gensr_dist.train.events import VARIABLE, Event, events_path, read_events

Moment: TypeAlias = Literal["any", "save", "validation"]
MOMENTS: tuple[Moment, ...] = get_args(Moment)

_STEPS_A_KILL = 10
_STEPS_MORE = 20
_LOOK_S = 0.0005
_EARLY = 0.7  # of a checkpoint or validation: later ones may be over when the kill comes
_STARTED_AT_MOST_S = 300.0
_TRAIN: dict[str, Any] = {
    "batch": 16,
    "warmup_steps": 10,
    "validate_every": 6,
    "validate_rows": 60,
    "patience": 1_000_000,
    "checkpoint_every": 4,
    "log_every": 1,
    "workers": 0,
}


@dataclass(frozen=True, kw_only=True)
class ResumeBench:
    """What `gensr bench resume` prints."""

    kills: int
    kills_in_save: int  # of them, while a checkpoint was being written
    kills_in_validation: int
    ranks: int
    steps: int
    bit_identical: bool  # final weights, to those of the run that nobody killed
    rows_lost: int  # training rows that surviving updates saw less often than those of the run that nobody killed
    rows_repeated: int  # that they saw more often
    seconds_per_kill: float  # wall clock more than the run that nobody killed took: starting again, steps done again
    uninterrupted_s: float


@dataclass
class Attempt:
    """What a rank's events tell of one start of a run."""

    began: int | None = None  # steps of the checkpoint that it went on from; None if it did not come so far
    rows: dict[int, tuple[int, ...]] = field(default_factory=dict)  # of each update, by its step


def bench_resume(kills: int, ranks: int) -> ResumeBench:
    """Train a small run twice, once under fire.

    Args:
        kills: SIGKILLs of all ranks at once. They aim at checkpoints, validations and any moment in equal parts.
        ranks: processes of the run.

    Raises:
        InputError: a stage or a training without kills failed.
    """
    steps = kills * _STEPS_A_KILL + _STEPS_MORE
    settings = SMALL_RUN | {"seed": 5, "train": _TRAIN | {"steps": steps}}
    with tempfile.TemporaryDirectory() as folder:
        base = prepared_run(Path(folder) / "base", settings)
        whole, fired = (twin_of(base, Path(folder) / name, settings) for name in ("whole", "fired"))
        began = time.monotonic()
        with _started(whole, ranks) as processes:
            _finish(whole, processes)
        uninterrupted = time.monotonic() - began
        began = time.monotonic()
        struck = _fire(fired, ranks, kills, _lengths(whole), random.Random(0))  # noqa: S311
        seconds = time.monotonic() - began
        found = [
            rows_lost_and_repeated(*(attempts_of(read_events(_events(run, rank))) for run in (whole, fired)))
            for rank in range(ranks)
        ]
        last = [[e.digest for e in read_events(_events(run, 0)) if e.kind == "weights"][-1] for run in (whole, fired)]
    return ResumeBench(
        kills=len(struck),
        kills_in_save=struck.count("save"),
        kills_in_validation=struck.count("validation"),
        ranks=ranks,
        steps=steps,
        bit_identical=last[0] == last[1],
        rows_lost=sum(lost for lost, _ in found),
        rows_repeated=sum(repeated for _, repeated in found),
        seconds_per_kill=round((seconds - uninterrupted) / max(1, len(struck)), 2),
        uninterrupted_s=round(uninterrupted, 2),
    )


def attempts_of(events: Sequence[Event]) -> list[Attempt]:
    """The starts that a rank's events tell of, in order."""
    attempts: list[Attempt] = []
    for event in events:
        if event.kind == "start":
            attempts.append(Attempt())
        elif event.kind == "begin":
            attempts[-1].began = event.step
        elif event.kind == "update":
            attempts[-1].rows[event.step] = event.rows
    return attempts


def rows_lost_and_repeated(whole: Sequence[Attempt], attempts: Sequence[Attempt]) -> tuple[int, int]:
    """Compare the rows of the surviving updates of a rank with those of the same rank in a run that nobody killed.

    The last attempt's updates survive, and of each earlier one those up to the checkpoint that the next surviving
    attempt went on from.

    Args:
        whole: the one attempt that was not killed.
        attempts: those that were, oldest first.
    """
    (expected,) = whole
    surviving: dict[int, tuple[int, ...]] = {}
    until = max(expected.rows)
    for attempt in reversed(attempts):
        if attempt.began is None or attempt.began >= until or until not in attempt.rows:
            continue  # it was killed before the checkpoint that counts
        surviving |= {step: rows for step, rows in attempt.rows.items() if attempt.began < step <= until}
        until = attempt.began
    needed, seen = (Counter(row for rows in each.values() for row in rows) for each in (expected.rows, surviving))
    return (needed - seen).total(), (seen - needed).total()


def _fire(run: RunFolder, ranks: int, kills: int, lengths: Mapping[str, float], chance: random.Random) -> list[Moment]:
    """Kill and resume until all kills are spent, then train to the end; returns where each kill struck."""
    struck: list[Moment] = []
    told = _events(run, 0)
    for _ in tqdm(range(kills), desc="kills", disable=None):
        # Those that have struck least come first: some kills miss what they aim at.
        moment = min(MOMENTS, key=lambda name: (struck.count(name), chance.random()))
        at = told.stat().st_size if told.exists() else 0
        with _started(run, ranks) as processes:
            if moment == "any":
                time.sleep(chance.uniform(0, 2 * lengths["start"]))
            else:
                kind = "checkpoint" if moment == "save" else moment
                _await(processes, told, at, kind, chance.randint(1, 2))
                time.sleep(chance.uniform(0, _EARLY * lengths[kind]))
            alive = all(process.poll() is None for process in processes)
            for process in processes:
                process.send_signal(signal.SIGKILL)
        if alive:
            struck.append(_struck(run, read_events(told, at)))
    with _started(run, ranks) as processes:
        _finish(run, processes)
    return struck


def _await(processes: Sequence[subprocess.Popen[bytes]], told: Path, at: int, kind: str, count: int) -> None:
    """Wait until something has begun so many times in the events after byte `at`, or the run is over."""
    deadline = time.monotonic() + _STARTED_AT_MOST_S
    while time.monotonic() < deadline and processes[0].poll() is None:
        if sum(event.kind == kind for event in read_events(told, at)) >= count:
            return
        time.sleep(_LOOK_S)


def _struck(run: RunFolder, events: Sequence[Event]) -> Moment:
    """In what a killed start was."""
    saves = [event.step for event in events if event.kind == "checkpoint"]
    # A finished one has its own name. They are written beside the training, so that a validation may run as well.
    if saves and not _checkpoint(run, saves[-1]).exists():
        return "save"
    validations = [event.kind for event in events if event.kind in ("validation", "validated")]
    return "validation" if validations[-1:] == ["validation"] else "any"


def _lengths(run: RunFolder) -> dict[str, float]:
    """Seconds of the shortest validation and checkpoint that is left, and of the start up to the first step."""
    begun: dict[str, float] = {}
    spent: dict[str, list[float]] = {"checkpoint": [], "validation": []}
    for event in read_events(_events(run, 0)):
        if event.kind == "validated":
            spent["validation"].append(event.time - begun["validation"])
        elif event.kind == "checkpoint" and _checkpoint(run, event.step).exists():
            ended = max(file.stat().st_mtime for file in _checkpoint(run, event.step).iterdir())
            spent["checkpoint"].append(ended - event.time)
        elif event.kind == "update" and event.step == 1:
            spent["start"] = [event.time - begun["start"]]
        begun[event.kind] = event.time
    return {name: min(values) for name, values in spent.items()}


def _checkpoint(run: RunFolder, step: int) -> Path:
    return run.checkpoints / f"step_{step:08d}"


def _events(run: RunFolder, rank: int) -> Path:
    return events_path(run.root / "events", rank)


@contextmanager
def _started(run: RunFolder, ranks: int) -> Iterator[list[subprocess.Popen[bytes]]]:
    """The ranks of a training, as a launcher would start them; killed at the end, if they still run."""
    common = {
        VARIABLE: str(run.root / "events"),
        "WORLD_SIZE": str(ranks),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(free_port()),
        "OMP_NUM_THREADS": "1",  # the same sums in the same order, whatever the machine does beside
    }
    command = [sys.executable, "-m", "gensr_dist", "train", str(config_of(run))]
    with (run.root / "output.txt").open("ab") as output:
        processes = [
            subprocess.Popen(
                command,
                env={**os.environ, **common, "RANK": str(rank), "LOCAL_RANK": str(rank)},
                stdout=output,
                stderr=output,
            )
            for rank in range(ranks)
        ]
        try:
            yield processes
        finally:
            for process in processes:
                process.kill()
            for process in processes:
                process.wait()


def _finish(run: RunFolder, processes: Sequence[subprocess.Popen[bytes]]) -> None:
    codes = [process.wait() for process in processes]
    if any(codes):
        said = (run.root / "output.txt").read_text(encoding="utf-8", errors="replace").strip().splitlines()
        raise InputError("gensr train", f"exit codes {codes}, the last line is: {said[-1]}", "correct that first")
