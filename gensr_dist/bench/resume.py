"""Kills of a training run and what they cost: SIGKILL at random moments, each time resumed by the same command.

The run is small. A twin that nobody kills says what its parameters must be, and the rows of each update are read from
the log files of the ranks, which name them by a digest.
"""

import hashlib
import os
import random
import re
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
from typing import Literal, TypeAlias, get_args

import yaml
from tqdm import tqdm

from gensr_dist.data.batches.dealing import DealtOrder, RowTokens
from gensr_dist.data.batches.order import PADDING, SampleOrder
from gensr_dist.data.items import ItemStore
from gensr_dist.data.shards.store import TimelineStore
from gensr_dist.distributed.heartbeat import free_port
from gensr_dist.errors import InputError
from gensr_dist.run.folder import RunFolder
from gensr_dist.storage.folder import Folder

Moment: TypeAlias = Literal["any", "save", "validation"]
MOMENTS: tuple[Moment, ...] = get_args(Moment)

BATCH = 16  # groups
SEED = 5
_HISTORY = 8
_NEGATIVES = 2
_CHECKPOINT_EVERY = 4  # steps
_VALIDATE_EVERY = 6
_STEPS_A_KILL = 10
_STEPS_MORE = 20
_LOOK_S = 0.0005
_EARLY = 0.7  # of a checkpoint or validation: later ones may be over when the kill comes
_STARTED_AT_MOST_S = 300.0
_EVENT = re.compile(r"(checkpoint|validation) (?:of|after) step (\d+) (begins|ended)")


@dataclass(frozen=True, kw_only=True)
class ResumeBench:
    """What `gensr bench resume` prints."""

    kills: int
    kills_in_save: int  # of them, while a checkpoint was being written
    kills_in_validation: int
    ranks: int
    steps: int
    bit_identical: bool  # final parameters, to those of the run that nobody killed
    rows_lost: int  # training rows that no surviving update saw, though the order says so
    rows_repeated: int  # that more surviving updates saw than the order says
    seconds_per_kill: float  # wall clock more than the run that nobody killed took: starting again, steps done again
    uninterrupted_s: float


@dataclass
class Attempt:
    """What a rank's log tells of one start of a run."""

    began: int | None = None  # steps of the checkpoint that it went on from; None if it did not come so far
    rows: dict[int, str] = field(default_factory=dict)  # step -> digest of its rows


def bench_resume(kills: int = 20, ranks: int = 1, seed: int = 0) -> ResumeBench:
    """Train a small run twice, once under fire.

    Args:
        kills: SIGKILLs of all ranks at once. They aim at checkpoints, validations and any moment in equal parts.
        ranks: processes of the run.
        seed: of the moments.

    Raises:
        InputError: a stage or a training without kills failed.
    """
    steps = kills * _STEPS_A_KILL + _STEPS_MORE
    with tempfile.TemporaryDirectory() as place:
        base = _prepared(Path(place), steps)
        whole, fired = (_twin(base, Path(place) / name) for name in ("whole", "fired"))
        began = time.monotonic()
        with _started(whole, ranks) as processes:
            _finish(whole, processes)
        uninterrupted = time.monotonic() - began
        lengths = _lengths(log_of(whole, 0).read_text(encoding="utf-8"))
        began = time.monotonic()
        struck = _fire(fired, ranks, kills, lengths, random.Random(seed))  # noqa: S311
        seconds = time.monotonic() - began
        order = _order(whole)
        lost, repeated = 0, 0
        for rank in range(ranks):
            attempts = read_attempts(log_of(fired, rank).read_text(encoding="utf-8"))
            found = rows_lost_and_repeated(attempts, order, steps, rank=rank, ranks=ranks)
            lost, repeated = lost + found[0], repeated + found[1]
        parameters = [_parameters(log_of(run, 0).read_text(encoding="utf-8")) for run in (whole, fired)]
    return ResumeBench(
        kills=len(struck),
        kills_in_save=struck.count("save"),
        kills_in_validation=struck.count("validation"),
        ranks=ranks,
        steps=steps,
        bit_identical=parameters[0] == parameters[1],
        rows_lost=lost,
        rows_repeated=repeated,
        seconds_per_kill=round((seconds - uninterrupted) / max(1, len(struck)), 2),
        uninterrupted_s=round(uninterrupted, 2),
    )


def read_attempts(log: str) -> list[Attempt]:
    """The starts that a rank's log file tells of, in order."""
    attempts: list[Attempt] = []
    for line in log.splitlines():
        if re.search(r" start: rank \d+ of \d+", line):
            attempts.append(Attempt())
        elif found := re.search(r" begins after step (\d+)$", line):
            attempts[-1].began = int(found[1])
        elif found := re.search(r" step (\d+) rows ([0-9a-f]{16}) ", line):
            attempts[-1].rows[int(found[1])] = found[2]
    return attempts


def rows_lost_and_repeated(
    attempts: Sequence[Attempt], order: DealtOrder, steps: int, *, rank: int, ranks: int
) -> tuple[int, int]:
    """Compare the rows of the surviving updates of a rank with the order.

    The last attempt's updates survive, and of each earlier one those up to the checkpoint that the next surviving
    attempt went on from.

    Args:
        attempts: of the rank, oldest first.
        order: of the run.
        steps: of the run.
        rank: whose rows they are.
        ranks: that shared each step.
    """
    rows_of = [order.rows_of_step(step, ranks)[0][rank] for step in range(steps)]
    rows_of = [row_G[row_G != PADDING] for row_G in rows_of]
    named = {hashlib.sha256(row_G.tobytes()).hexdigest()[:16]: row_G for row_G in rows_of}
    expected = Counter(row for row_G in rows_of for row in row_G.tolist())
    seen: Counter[int] = Counter()
    until = steps
    for attempt in reversed(attempts):
        if attempt.began is None or attempt.began >= until:
            continue
        if until not in attempt.rows:
            continue  # it was killed before the checkpoint that counts
        for step, digest in attempt.rows.items():
            if step <= until:
                seen.update(named[digest].tolist() if digest in named else ())
        until = attempt.began
    return (expected - seen).total(), (seen - expected).total()


def log_of(run: RunFolder, rank: int) -> Path:
    """A rank's log file."""
    return run.logs / f"rank_{rank:05d}.log"


def _fire(run: RunFolder, ranks: int, kills: int, lengths: Mapping[str, float], chance: random.Random) -> list[Moment]:
    """Kill and resume until all kills are spent, then train to the end; returns where each kill struck."""
    struck: list[Moment] = []
    for _ in tqdm(range(kills), desc="kills", disable=None):
        moment = min(
            MOMENTS, key=lambda name: (struck.count(name), chance.random())
        )  # some kills miss what they aim at
        at = log_of(run, 0).stat().st_size if log_of(run, 0).exists() else 0
        with _started(run, ranks) as processes:
            if moment == "any":
                time.sleep(chance.uniform(0, 2 * lengths["start"]))
            else:
                event = "checkpoint" if moment == "save" else moment
                _await(processes, log_of(run, 0), at, event, chance.randint(1, 2))
                time.sleep(chance.uniform(0, _EARLY * lengths[event]))
            alive = all(process.poll() is None for process in processes)
            for process in processes:
                process.send_signal(signal.SIGKILL)
        if alive:
            struck.append(_struck(_text_since(log_of(run, 0), at)))
    with _started(run, ranks) as processes:
        _finish(run, processes)
    return struck


def _await(processes: Sequence[subprocess.Popen[bytes]], log: Path, at: int, event: str, count: int) -> None:
    """Wait until an event has begun so many times in the text after `at`, or the run is over."""
    deadline = time.monotonic() + _STARTED_AT_MOST_S
    while time.monotonic() < deadline and processes[0].poll() is None:
        found = [match for match in _EVENT.findall(_text_since(log, at)) if match[0] == event and match[2] == "begins"]
        if len(found) >= count:
            return
        time.sleep(_LOOK_S)


def _struck(text: str) -> Moment:
    """In what a killed start was."""
    under_way = Counter(event for event, _, part in _EVENT.findall(text) if part == "begins")
    under_way -= Counter(event for event, _, part in _EVENT.findall(text) if part == "ended")
    if "checkpoint" in under_way:  # written beside the training, so that a validation may run as well
        return "save"
    return "validation" if "validation" in under_way else "any"


def _lengths(log: str) -> dict[str, float]:
    """Seconds of the shortest checkpoint and validation, and of the start up to the first step."""
    begun: dict[str, float] = {}
    spent: dict[str, list[float]] = {"checkpoint": [], "validation": [], "start": []}
    for line in log.splitlines():
        stamp = re.match(r"\d{4}-\d\d-\d\d (\d\d):(\d\d):(\d\d),(\d{3}) ", line)
        if stamp is None:
            continue
        hours, minutes, seconds, thousandths = map(int, stamp.groups())
        now = hours * 3600 + minutes * 60 + seconds + thousandths / 1000
        if event := _EVENT.search(line):
            if event[3] == "begins":
                begun[event[1]] = now
            else:
                spent[event[1]].append(now - begun[event[1]])
        elif " start: " in line:
            begun["start"] = now
        elif " step 1 rows " in line:
            spent["start"].append(now - begun["start"])
    return {name: min(values) for name, values in spent.items()}


def _parameters(log: str) -> str:
    """Digest of the final parameters."""
    return re.findall(r" parameters of step \d+: ([0-9a-f]{64})", log)[-1]


def _text_since(log: Path, at: int) -> str:
    if not log.exists():
        return ""
    with log.open("rb") as file:
        file.seek(at)
        return file.read().decode("utf-8", errors="replace")


def _order(run: RunFolder) -> DealtOrder:
    shards = Folder.at(run.root / "shards")
    store = TimelineStore.open(shards)
    tokens = RowTokens(store, ItemStore.open(shards), _HISTORY, candidates=1 + _NEGATIVES)
    return DealtOrder(SampleOrder(store.window_rows, BATCH, SEED), tokens, micro_tokens=0)


def _prepared(place: Path, steps: int) -> RunFolder:
    """A small log with shards and CF vectors, and the config of the twins."""
    settings = {
        "seed": SEED,
        "run": str(place / "base"),
        "simulate": {"users": 200, "items": 600, "days": 12, "events_per_user": 60},
        "data": {
            "source": "simulate",
            "min_interactions": 2,
            "vocabulary": 400,
            "history": _HISTORY,
            "eval_negatives": 49,
            "train_negatives": _NEGATIVES,
        },
        "lightgcn": {"width": 16, "epochs": 2, "batch": 512},
        "model": {"cf_heads": 2, "semantic_history": "pooled", "dropout": 0.1},
        "train": {
            "steps": steps,
            "batch": BATCH,
            "warmup_steps": 10,
            "validate_every": _VALIDATE_EVERY,
            "validate_rows": 60,
            "patience": 1_000_000,
            "checkpoint_every": _CHECKPOINT_EVERY,
            "log_every": 1,
            "workers": 0,
        },
    }
    config = place / "base.yaml"
    config.write_text(yaml.safe_dump(settings), encoding="utf-8")
    for command in (["simulate"], ["prepare", "simulate"], ["lightgcn"], ["channels"]):
        done = subprocess.run(
            [sys.executable, "-m", "gensr_dist", *command, str(config)], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise InputError(f"gensr {command[0]}", done.stderr.strip()[-500:], "see above")
    return RunFolder(place / "base")


def _twin(base: RunFolder, root: Path) -> RunFolder:
    root.mkdir()
    for name in ("shards", "cf", "channels"):
        (root / name).symlink_to(base.root / name)
    settings = yaml.safe_load((base.root.parent / "base.yaml").read_text(encoding="utf-8"))
    (root / "given.yaml").write_text(yaml.safe_dump({**settings, "run": str(root)}), encoding="utf-8")
    return RunFolder(root)


@contextmanager
def _started(run: RunFolder, ranks: int) -> Iterator[list[subprocess.Popen[bytes]]]:
    """The ranks of a training, as a launcher would start them; killed at the end, if they still run."""
    port = free_port()
    with (run.root / "output.txt").open("ab") as output:
        processes = [
            subprocess.Popen(
                [sys.executable, "-m", "gensr_dist", "train", str(run.root / "given.yaml")],
                env={
                    **os.environ,
                    "RANK": str(rank),
                    "LOCAL_RANK": str(rank),
                    "WORLD_SIZE": str(ranks),
                    "MASTER_ADDR": "127.0.0.1",
                    "MASTER_PORT": str(port),
                    "OMP_NUM_THREADS": "1",  # the same sums in the same order, whatever the machine does beside
                },
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
        raise InputError("gensr train", f"exit codes {codes}, the last line is: {said[-1]}", "mend that first")
