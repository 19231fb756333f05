"""Checkpoints to resume from (see `CheckpointSeries`), free of the number of ranks and of the ZeRO stage.

Rank 0 alone writes and reads them, so that they need no file system that hosts share. Training waits while the state
is copied to rank 0's memory, not while it is written: that is done by a thread, and the next save waits for it.
"""

import dataclasses
import shutil
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gensr_dist.distributed.rank_log import DETAIL
from gensr_dist.errors import InputError
from gensr_dist.storage.checkpoint_series import CheckpointSeries, Settings, check_same_settings
from gensr_dist.storage.durable import durable_file
from gensr_dist.train.engine import Engine
from gensr_dist.train.state import State, gather_state, shapes, spread_state
from gensr_dist.train.tensor_files import TENSORS, TensorReader, write_tensors

_LATEST = "latest"  # for people and scripts: a load looks for itself
_RESTART = "set `run` to another folder, or delete the folder of checkpoints to start over"


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a run is: all that a checkpoint keeps besides weights and moments.

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

    def __init__(self, folder: Path, engine: Engine[Any], *, keep_last: int) -> None:
        self.series = series_in(folder)
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
        found = self.ranks.from_first(lambda: self._find(progress, step))
        if found is None:
            return progress
        reader = TensorReader(self.series.path(found.steps)) if self.ranks.first else None
        spread_state(self.engine, reader, found.steps)
        if reader is not None:
            reader.close()
        return dataclasses.replace(found, world=progress.world, zero_stage=progress.zero_stage)

    def _find(self, progress: Progress, step: int | None) -> Progress | None:
        """The progress of the checkpoint to load, None without any."""
        path = self.series.newest_whole() if step is None else self.series.path(step)
        if path is None or (step is not None and (not path.is_dir() or self.series.damage(path))):
            return None
        found = self.series.read(path)
        check_same_settings(path, found.settings, progress.settings, _RESTART)
        _check_same_model(path, self.engine)
        return found

    def _settle(self, *, wait: bool) -> None:
        """Agree on what became of the write under way."""
        under_way, problem = self.ranks.from_first(lambda: self._state_of_write(wait))
        if under_way:
            return
        failure = self._writer.failure if self._writer is not None else None
        self._writer, self._under_way = None, False
        if failure is not None and not isinstance(failure, OSError):
            raise failure
        if problem is not None:
            raise problem

    def _state_of_write(self, wait: bool) -> tuple[bool, InputError | None]:
        """Of rank 0: whether it still goes on, and what went wrong."""
        assert self._writer is not None
        if wait:
            self._writer.join()
        return self._writer.is_alive(), self._writer.problem


class _Writer(threading.Thread):
    """Writes one checkpoint, then deletes those that it supersedes."""

    def __init__(self, checkpoints: Checkpoints, state: State, progress: Progress) -> None:
        super().__init__(name="checkpoint")
        self.series = checkpoints.series
        self.keep_last = checkpoints.keep_last
        self.state: State = state
        self.progress = progress
        self.failure: Exception | None = None

    def run(self) -> None:
        """Work of the thread."""
        steps = self.progress.steps
        DETAIL.info(f"checkpoint of step {steps} begins")
        try:
            with self.series.written(steps, self.progress) as folder:
                write_tensors(folder, self.state)
            with durable_file(self.series.folder / _LATEST) as latest:
                latest.write_text(self.series.path(steps).name, encoding="utf-8")
            self.series.keep_only({_LATEST, *self._kept()})
            DETAIL.info(f"checkpoint of step {steps} ended")
        except Exception as error:  # the main thread raises it
            self.failure = error
        finally:
            self.state = {}

    @property
    def problem(self) -> InputError | None:
        """The error for the user, if it failed."""
        if self.failure is None:
            return None
        reason = getattr(self.failure, "strerror", None) or str(self.failure)
        left = [path.name for path in self.series.finished()]
        resumes = f"the newest on the disk is {left[-1]}" if left else "there is none on the disk"
        return InputError(
            self.series.path(self.progress.steps),
            f"the checkpoint could not be written ({reason}), {resumes}",
            "free space on that disk or repair it, then start again" + (" to go on from there" if left else ""),
        )

    def _kept(self) -> list[str]:
        """The last ones and the best one. Later steps belong to damaged checkpoints that were not resumed."""
        now, best = (self.series.path(steps).name for steps in (self.progress.steps, self.progress.best_step))
        names = [path.name for path in self.series.finished()]
        return [*[name for name in names if name <= now][-self.keep_last :], best]


def series_in(folder: Path) -> CheckpointSeries[Progress]:
    """The checkpoints in a folder."""
    return CheckpointSeries(folder=folder, tables=TENSORS.values(), progress=Progress, remedy=_RESTART)


def discard(folder: Path) -> None:
    """Delete all checkpoints of a run."""
    shutil.rmtree(folder, ignore_errors=True)


def _check_same_model(path: Path, engine: Engine[Any]) -> None:
    """Equal settings make equal models, unless the program has changed."""
    reader = TensorReader(path)
    found, expected = reader.shapes(), shapes(engine)
    reader.close()
    for name in sorted(found.keys() | expected.keys()):
        if found.get(name) != expected.get(name):
            problem = f"its {name} has shape {found.get(name)}, that of this model {expected.get(name)}"
            raise InputError(path, problem, _RESTART)
