"""What a training did, to the last bit, as typed events in a file of JSON lines: for those who compare runs.

Written only where GENSR_EVENTS names a folder: rows and digests of weights cost time, and nobody else reads them. Every
start of a run appends to the file of its rank.
"""

import json
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

VARIABLE = "GENSR_EVENTS"

Kind = Literal["start", "begin", "update", "validation", "validated", "checkpoint", "weights"]


@dataclass(frozen=True, kw_only=True)
class Event:
    """One thing that a rank did.

    `start`: the process is there; `begin`: it goes on after `step`; `update`: that of `step` was made from these rows;
    `validation`, `validated`: one after `step` begins and is done; `checkpoint`: one of `step` begins to be written;
    `weights`: those after the last step.
    """

    time: float  # seconds since 1970
    kind: Kind
    step: int = 0  # the first is 1
    rows: tuple[int, ...] = ()  # global training rows of this rank, in order
    digest: str = ""  # of the weights, hexadecimal SHA-256


class TrainingEvents:
    """Appends a rank's events to its file, if any is asked for."""

    def __init__(self, rank: int) -> None:
        folder = os.environ.get(VARIABLE)
        self.path = events_path(Path(folder), rank) if folder else None
        if self.path is not None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.add("start")

    def __bool__(self) -> bool:
        """Whether anybody reads them."""
        return self.path is not None

    def add(self, kind: Kind, step: int = 0, *, rows: Sequence[int] = (), digest: str = "") -> None:
        """Append an event. The line of an earlier start that was killed while it wrote is ended first."""
        if self.path is not None:
            event = Event(time=time.time(), kind=kind, step=step, rows=tuple(rows), digest=digest)
            with self.path.open("a", encoding="utf-8") as file:
                file.write(("\n" if kind == "start" else "") + json.dumps(asdict(event)) + "\n")


def events_path(folder: Path, rank: int) -> Path:
    """File of a rank in the folder that GENSR_EVENTS names."""
    return folder / f"rank_{rank:05d}.jsonl"


def read_events(file: Path, start: int = 0) -> list[Event]:
    """Whole events after byte `start` of a file, oldest first; none where there is no file. Torn lines are left out."""
    if not file.exists():
        return []
    return [event for line in file.read_bytes()[start:].splitlines() if (event := _event(line)) is not None]


def _event(line: bytes) -> Event | None:
    try:
        fields = json.loads(line)
        return Event(**{**fields, "rows": tuple(fields["rows"])})
    except (ValueError, TypeError, KeyError):
        return None
