"""Checkpoints to resume from: whole or absent, bound to the settings that made them, free of ranks and ZeRO stage.

Rank 0 alone writes and reads them, in folders `step_00000200` (see `checkpoint_folder`), so that they need no file
system that hosts share. Training waits while the state is copied to rank 0's memory, not while it is written: that is
done by a thread, and the next save waits for it.
"""

import dataclasses
import json
import logging
import shutil
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist
from pydantic import TypeAdapter, ValidationError

from gensr_dist.distributed.rank_log import DETAIL
from gensr_dist.distributed.ranks import Ranks
from gensr_dist.errors import InputError
from gensr_dist.storage.durable import durable_file
from gensr_dist.storage.records import read_json
from gensr_dist.train.checkpoint_folder import STATE, TensorReader, damage_of, write_checkpoint
from gensr_dist.train.engine import Engine
from gensr_dist.train.state import State, gather_state, shapes, spread_state

LOG = logging.getLogger("gensr_dist.train")

_STEP = "step_"
_RESTART = "set `run` to another folder, or delete the folder of checkpoints to start anew"

Settings = Mapping[str, str | int | float | bool]


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a run is: all that a checkpoint keeps beside weights and moments.

    Nothing else is random or has a position: the rows of a step, their negatives and its dropout are functions of the
    seed and of the number of the step.
    """

    settings: Settings  # what the run depends on: a checkpoint of other settings is refused
    world: int  # ranks that train; any other number may go on
    zero_stage: int  # any other may go on
    steps: int = 0  # finished optimizer steps; the next one has this number, and TensorBoard shows this many
    best_step: int = 0  # steps behind the best validation, 0 before the first
    best_ndcg: float = -1.0
    validations_without_gain: int = 0
    stopped_early: bool = False
    seconds: float = 0.0  # of training, over all resumptions
    train_seconds: float = 0.0  # of them, in training steps


class Checkpoints:
    """The checkpoints of one run. Every rank must make the same calls.

    Args:
        folder: that holds them and nothing else.
        engine: whose state is saved and loaded.
        keep_last: how many are kept, besides that of the best validation.
    """

    def __init__(self, folder: Path, engine: Engine, *, keep_last: int) -> None:
        self.folder = folder
        self.engine = engine
        self.ranks = engine.ranks
        self.keep_last = keep_last
        self._under_way = False  # known to every rank
        self._writer: _Writer | None = None  # of rank 0

    def save(self, progress: Progress) -> None:
        """Copy the state and begin to write it; older checkpoints are deleted when the new one is on the disk.

        Raises:
            InputError: this one or the one before could not be written. The last good one is still there.
        """
        self.finish()
        state = gather_state(self.engine)
        self._under_way = True
        if self.ranks.first:
            self._writer = _Writer(self, state, progress)
            self._writer.start()

    def look(self) -> None:
        """Hear of a write that failed meanwhile; cheap where none is under way.

        Raises:
            InputError: it failed. The last good checkpoint is still there.
        """
        if self._under_way:
            self._settle(wait=False)

    def finish(self) -> None:
        """Wait until the checkpoint of the last `save` is on the disk.

        Raises:
            InputError: it could not be written. The last good one is still there.
        """
        if self._under_way:
            self._settle(wait=True)

    def close(self) -> None:
        """Let a write under way end, whatever comes of it; rank 0 alone does something here."""
        if self._writer is not None:
            self._writer.join()

    def load(self, progress: Progress, step: int | None = None) -> Progress:
        """Load the newest checkpoint whose checksums are right; without any checkpoint, return `progress`.

        Args:
            progress: of a run that has not begun, with the settings of this one.
            step: load that of this step instead; without it, return `progress`.

        Raises:
            InputError: none is whole, or the newest whole one belongs to other settings.
        """
        answer = ""
        if self.ranks.first:
            answer = self._find(progress, step)
        found = json.loads(_said_by_first(answer, self.ranks))
        if "error" in found:
            raise InputError(*found["error"])
        if found["name"] is None:
            return progress
        loaded: Progress = TypeAdapter(Progress).validate_python(found["progress"])
        reader = TensorReader(self.folder / found["name"]) if self.ranks.first else None
        spread_state(self.engine, reader, loaded.steps)
        if reader is not None:
            reader.close()
        return dataclasses.replace(loaded, world=progress.world, zero_stage=progress.zero_stage)

    def _find(self, progress: Progress, step: int | None) -> str:
        """JSON of the checkpoint to load: its name (null without any) and progress; or of the error."""
        try:
            path = newest_whole(self.folder) if step is None else _whole(self.folder, step)
            if path is None:
                return json.dumps({"name": None})
            found = _read_progress(path)
            _check_same_settings(path, found, progress)
            _check_same_model(path, self.engine)
            return json.dumps({"name": path.name, "progress": dataclasses.asdict(found)})
        except InputError as error:
            return json.dumps({"error": (error.where, error.problem, error.remedy)})

    def _settle(self, *, wait: bool) -> None:
        """Agree on what became of the write under way."""
        outcome = ""
        if self._writer is not None:
            if wait:
                self._writer.join()
            outcome = "under way" if self._writer.is_alive() else json.dumps(self._writer.problem)
        outcome = _said_by_first(outcome, self.ranks)
        if outcome == "under way":
            return
        failure = self._writer.failure if self._writer is not None else None
        self._writer, self._under_way = None, False
        if failure is not None and not isinstance(failure, OSError):
            raise failure
        problem = json.loads(outcome)
        if problem is not None:
            raise InputError(*problem)


class _Writer(threading.Thread):
    """Writes one checkpoint, then deletes those that it supersedes."""

    def __init__(self, checkpoints: Checkpoints, state: State, progress: Progress) -> None:
        super().__init__(name="checkpoint")
        self.folder = checkpoints.folder
        self.keep_last = checkpoints.keep_last
        self.best_step = progress.best_step
        self.state: State = state
        self.progress = progress
        self.failure: Exception | None = None

    def run(self) -> None:
        """Work of the thread."""
        path = self.folder / _name(self.progress.steps)
        DETAIL.info(f"checkpoint of step {self.progress.steps} begins")
        try:
            write_checkpoint(path, self.state, self.progress)
            with durable_file(self.folder / "latest") as latest:  # for people and scripts: a load looks for itself
                latest.write_text(path.name, encoding="utf-8")
            self._delete_superseded()
            DETAIL.info(f"checkpoint of step {self.progress.steps} ended")
        except Exception as error:  # the main thread raises it
            self.failure = error
        finally:
            self.state = {}

    @property
    def problem(self) -> tuple[str, str, str] | None:
        """Arguments of the error for the user, if it failed."""
        if self.failure is None:
            return None
        reason = getattr(self.failure, "strerror", None) or str(self.failure)
        left = [path.name for path in _finished(self.folder)]
        resumes = f"the newest on the disk is {left[-1]}" if left else "there is none on the disk"
        return (
            str(self.folder / _name(self.progress.steps)),
            f"the checkpoint could not be written ({reason}), {resumes}",
            "free space on that disk or repair it, then start again" + (" to go on from there" if left else ""),
        )

    def _delete_superseded(self) -> None:
        """Keep the last ones and the best one. Later steps belong to damaged checkpoints that were not resumed."""
        now = _name(self.progress.steps)
        finished = _finished(self.folder)
        last = [path for path in finished if path.name <= now][-self.keep_last :]
        for path in finished:
            if path not in last and path.name != _name(self.best_step):
                hidden = path.with_name(f".{path.name}.old")
                path.rename(hidden)
                shutil.rmtree(hidden)


def newest_whole(folder: Path) -> Path | None:
    """The newest checkpoint whose checksums are right; None where there are none at all.

    Each damaged one that is passed over is logged in one line.

    Raises:
        InputError: there are some, and all are damaged.
    """
    finished = _finished(folder)
    for path in reversed(finished):
        damage = damage_of(path)
        if damage is None:
            return path
        LOG.warning(f"checkpoint {path.name} is damaged ({damage}): going back to the one before it")
    if finished:
        raise InputError(
            folder,
            f"none of its {len(finished)} checkpoints is whole: in {finished[-1].name}, {damage_of(finished[-1])}",
            "restore one of them, or delete the folder to start anew",
        )
    return None


def _whole(folder: Path, step: int) -> Path | None:
    """The checkpoint of a step, if it is there and its checksums are right."""
    path = folder / _name(step)
    return path if path.is_dir() and damage_of(path) is None else None


def discard(folder: Path) -> None:
    """Delete all checkpoints of a run."""
    shutil.rmtree(folder, ignore_errors=True)


def _name(steps: int) -> str:
    return f"{_STEP}{steps:08d}"


def _finished(folder: Path) -> list[Path]:
    """Checkpoints, oldest first."""
    return sorted(path for path in folder.glob(f"{_STEP}*") if path.is_dir())


def _read_progress(path: Path) -> Progress:
    """Read `state.json`, whose checksum is right."""
    try:
        return TypeAdapter(Progress).validate_python(read_json(path / STATE, _RESTART))
    except ValidationError as error:
        problem = f"not the state of a checkpoint of this version ({error.errors()[0]['msg']})"
        raise InputError(path / STATE, problem, _RESTART) from None


def _check_same_settings(path: Path, found: Progress, expected: Progress) -> None:
    names = sorted(found.settings.keys() | expected.settings.keys())
    differing = [name for name in names if found.settings.get(name) != expected.settings.get(name)]
    if differing:
        shown = ", ".join(
            f"{name} was {found.settings.get(name)} and is {expected.settings.get(name)}" for name in differing[:3]
        )
        more = f" and {len(differing) - 3} more" if len(differing) > 3 else ""
        raise InputError(path, f"the checkpoint belongs to other settings: {shown}{more}", _RESTART)


def _check_same_model(path: Path, engine: Engine) -> None:
    """Equal settings make equal models, unless the program has changed."""
    reader = TensorReader(path)
    found, expected = reader.shapes(), shapes(engine)
    reader.close()
    for name in sorted(found.keys() | expected.keys()):
        if found.get(name) != expected.get(name):
            problem = f"its {name} has shape {found.get(name)}, that of this model {expected.get(name)}"
            raise InputError(path, problem, _RESTART)


def _said_by_first(text: str, ranks: Ranks) -> str:
    """What rank 0 says, on every rank."""
    content = text.encode()
    size = torch.tensor([len(content)], device=ranks.device)
    dist.broadcast(size, src=0)
    letters = torch.zeros(int(size), dtype=torch.uint8, device=ranks.device)
    if ranks.first:
        letters.copy_(torch.frombuffer(bytearray(content), dtype=torch.uint8))
    dist.broadcast(letters, src=0)
    return bytes(letters.tolist()).decode()
