"""What a stage is: the contract of everything between a raw log and evaluated answers."""

import dataclasses
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, TypeAlias

from gensr_dist.config.marks import Mark, marked
from gensr_dist.config.root import Config, flattened
from gensr_dist.runs.folder import RunFolder
from gensr_dist.runs.outside_files import OutsideFolder
from gensr_dist.runs.records import StageRecord, lost_result

Settings: TypeAlias = Mapping[str, str | int | float | bool]  # by dotted key


@dataclass(frozen=True, kw_only=True)
class PrepareWorkers:
    """Who does the work of `prepare`; the shards do not depend on it."""

    engine: Literal["local", "ray"] = "local"
    address: str = ""  # of a Ray cluster; empty starts one on this machine
    processes: int = os.cpu_count() or 1  # of the local engine


@dataclass(frozen=True, kw_only=True)
class Job:
    """One start of a stage."""

    config: Config
    run: RunFolder
    resume: bool = True  # go on from checkpoints, where there are any
    workers: PrepareWorkers = PrepareWorkers()


class Result(Protocol):
    """A dataclass that says itself."""

    def lines(self) -> tuple[str, ...]:
        """For people."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a stage tells: lines for people, plain values for programs."""

    summary: tuple[str, ...]
    result: Mapping[str, Any]

    @classmethod
    def of(cls, result: Result) -> "Outcome":
        """Of a dataclass."""
        return cls(summary=result.lines(), result=dataclasses.asdict(result))  # type: ignore[call-overload]


class Stage(ABC):
    """One stage, stateless. A stage is one file here and one line of `order.STAGES`.

    Its results are a function of its settings, its seed, the results it needs and the files it reads from outside:
    equal ones are not made again.
    """

    name: str  # this, the summary and the form are of the class, or of each of its stages
    summary: str  # one line of `gensr --help`
    help: ClassVar[str]  # the rest of `gensr NAME --help`
    # Of the results, apart from settings and inputs. Whoever makes a stage give other results, or read others than
    # before, raises it, so that those of earlier versions are made again. A version alone does not.
    form: int
    sections: ClassVar[tuple[str, ...]]  # prefixes of the settings that it depends on; the seed is always one
    on_ranks: ClassVar[bool] = False  # launchers may start it, once a rank

    def takes_part(self, config: Config) -> bool:
        """Whether `gensr run` has it."""
        return True

    @abstractmethod
    def needs(self, config: Config) -> tuple[str, ...]:
        """Names of the stages whose results it reads, in order."""

    def settings(self, config: Config) -> Settings:
        """What its results depend on."""
        left_out = marked(Config, Mark.OPERATIONAL)
        flat = flattened(config)
        return {k: v for k, v in flat.items() if k == "seed" or (k.startswith(self.sections) and k not in left_out)}

    def outside(self, config: Config) -> Mapping[str, OutsideFolder]:
        """Folders outside the run folder that it reads, by the key that names them."""
        return {}

    @abstractmethod
    def results(self, run: RunFolder) -> tuple[Path, ...]:
        """Files and folders that it leaves in the run folder."""

    @abstractmethod
    def do(self, job: Job) -> Outcome:
        """Make the results, whole or not at all.

        Raises:
            InputError: something that it reads cannot be used.
            Paused: it was asked to end, and goes on another time.
        """

    def made(self, record: StageRecord, run: RunFolder) -> str:
        """What later stages depend on, once it has finished."""
        return record.fingerprint

    def lost(self, record: StageRecord, run: RunFolder) -> str:
        """What has become of a result since it finished, in a sentence; empty where all are as they were.

        Raises:
            InputError: a result cannot be read.
        """
        gone = next((str(place) for place in self.results(run) if not place.exists()), "")
        return f"{gone}, a result of stage {self.name}, is gone" if gone else lost_result(record, run)

    def states(self, run: RunFolder) -> Mapping[str, Any]:
        """Everything that it has left, checkpoints too: equal only where it has changed nothing."""
        paths = [path for place in self.results(run) for path in (place, *place.rglob("*")) if path.exists()]
        return {str(path): (path.stat().st_ino, path.stat().st_mtime_ns) for path in paths}
