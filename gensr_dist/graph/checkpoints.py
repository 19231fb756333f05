"""Checkpoints of LightGCN: whole or absent, bound to settings and graph, free of the number of ranks.

The folder of a training holds `step_00000123` (vectors, Adam's moments, `state.json`) and `best_00010`, the propagated
vectors of the best epoch so far, which thus need no memory. When the training is done, `finished.json` takes the place
of the former. Each is written under another name and renamed when complete. With several hosts the folder must lie on
a file system that all of them share.

Dimensions: N nodes (users first), E width, e columns of this rank.
"""

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from gensr_dist.errors import InputError
from gensr_dist.graph.ranks import ColumnRanks
from gensr_dist.graph.tables import read_columns, write_table
from gensr_dist.graph.trainer import ColumnTrainer
from gensr_dist.storage.output_errors import numbered_errors
from gensr_dist.storage.records import read_json, write_json

_STATE = "state.json"
_FINISHED = "finished.json"


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a training is; all that a checkpoint keeps beside tables."""

    settings: Mapping[str, str | int | float]  # what the vectors depend on: a checkpoint of others is refused
    epoch: int = 0  # finished epochs
    step: int = 0  # finished steps of the epoch after them
    loss_sum: float = 0.0  # over these steps
    losses: tuple[float, ...] = ()  # mean of each finished epoch
    recall_curve: tuple[tuple[int, float], ...] = ()  # (epoch, recall@20)
    best_epoch: int = 0  # whose vectors are kept, 0 before the first validation
    best_recall: float = -1.0
    seconds: float = 0.0  # over all resumptions

    def stopped_early(self, patience: int) -> bool:
        """Whether `patience` validations since the best one were no better."""
        return sum(epoch > self.best_epoch for epoch, _ in self.recall_curve) >= patience


class Checkpoints:
    """The checkpoints of one training. Every rank must make the same calls.

    Args:
        folder: that holds them and nothing else.
        ranks: who owns which columns.
        width: E.
    """

    def __init__(self, folder: Path, ranks: ColumnRanks, width: int) -> None:
        self.folder, self.ranks, self.width = folder, ranks, width
        self.remedy = f"delete {folder} to start LightGCN anew"

    def save(self, progress: Progress, trainer: ColumnTrainer) -> None:
        """Write a checkpoint, then delete what it replaces."""
        final = self.folder / f"step_{trainer.steps:08d}"
        with self._written(final) as temporary:
            for name, table_Ne in trainer.tables.items():
                write_table(temporary / f"{name}.npy", table_Ne, self.ranks, self.width)
            if self.ranks.first:
                write_json(temporary / _STATE, progress)
        if self.ranks.first:
            self._keep_only(final.name, _best_name(progress.best_epoch))
        self.ranks.wait()

    def save_best(self, epoch: int, out_Ne: Tensor, users: int, touched_N: np.ndarray) -> None:
        """Write the propagated vectors of an epoch, zero for untouched nodes: for them they are noise of the start.

        Args:
            epoch: finished.
            out_Ne: propagated vectors, users first.
            users: how many.
            touched_N: bool.
        """
        final = self.folder / _best_name(epoch)
        with self._written(final) as temporary:
            for name, rows in (("users", slice(0, users)), ("items", slice(users, None))):
                write_table(temporary / f"{name}.npy", out_Ne[rows], self.ranks, self.width, touched_N[rows])
        self.ranks.wait()

    def best(self, epoch: int) -> tuple[np.memmap, np.memmap]:
        """Memory maps of the kept vectors: items [I, E], users [V, E].

        Raises:
            InputError: they cannot be read.
        """
        folder = self.folder / _best_name(epoch)
        try:
            item_IE, user_VE = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("items", "users"))
        except (OSError, ValueError, EOFError) as error:
            raise InputError(folder, f"the vectors of the best epoch cannot be read ({error})", self.remedy) from None
        return item_IE, user_VE

    def load(self, progress: Progress, trainer: ColumnTrainer) -> Progress:
        """Load the newest checkpoint into the trainer; without one, return `progress`.

        Args:
            progress: of a training that has not begun, with the settings of this one.
            trainer: of the same training.

        Raises:
            InputError: the checkpoint belongs to other settings or another graph, or cannot be read.
        """
        saved = sorted(self.folder.glob("step_*"))
        if not saved:
            return progress
        found = self._read(saved[-1] / _STATE, progress)
        for name, table_Ne in trainer.tables.items():
            read_columns(saved[-1] / f"{name}.npy", table_Ne, trainer.columns, self.width, self.remedy)
        trainer.steps = int(saved[-1].name.removeprefix("step_"))
        return found

    def finish(self, progress: Progress) -> None:
        """Keep the best vectors alone, and that nothing is left to train."""
        if self.ranks.first:
            write_json(self.folder / _FINISHED, progress)
            self._keep_only(_FINISHED, _best_name(progress.best_epoch))
        self.ranks.wait()

    def finished(self, progress: Progress) -> Progress | None:
        """What `finish` kept, None where it was not called.

        Args:
            progress: of a training that has not begun, with the settings of this one.

        Raises:
            InputError: it belongs to other settings or another graph, or cannot be read.
        """
        path = self.folder / _FINISHED
        return self._read(path, progress) if path.exists() else None

    def _read(self, path: Path, progress: Progress) -> Progress:
        found = _read_state(path, self.remedy)
        # Then those of the other trainings are no use either.
        _check_same(path, found.settings, progress.settings, f"delete {self.folder.parent} to start LightGCN anew")
        best = self.folder / _best_name(found.best_epoch)
        if found.best_epoch and not best.is_dir():
            raise InputError(best, "the vectors of the best epoch are missing", self.remedy)
        return found

    @contextmanager
    def _written(self, final: Path) -> Iterator[Path]:
        """Yield a temporary folder; it takes the place of `final`, or nothing is left of it."""
        temporary = final.with_name(f".{final.name}.tmp")
        if not self.ranks.first:
            yield temporary
            return
        shutil.rmtree(temporary, ignore_errors=True)
        try:
            with numbered_errors(final):
                temporary.mkdir(parents=True)
                yield temporary
                shutil.rmtree(final, ignore_errors=True)
                temporary.rename(final)
                descriptor = os.open(self.folder, os.O_RDONLY)
                try:
                    os.fsync(descriptor)  # so that the rename lasts through a power cut
                finally:
                    os.close(descriptor)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def _keep_only(self, *names: str) -> None:
        for path in self.folder.iterdir():
            if path.name not in names:
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def discard(folder: Path, ranks: ColumnRanks) -> None:
    """Delete the checkpoints of all trainings. Every rank must call it."""
    ranks.wait()
    if ranks.first:
        shutil.rmtree(folder, ignore_errors=True)
    ranks.wait()


def _best_name(epoch: int) -> str:
    return f"best_{epoch:05d}"


def _read_state(path: Path, remedy: str) -> Progress:
    try:
        return TypeAdapter(Progress).validate_python(read_json(path, remedy))
    except ValidationError as error:
        raise InputError(path, f"not the state of a checkpoint ({error.errors()[0]['msg']})", remedy) from None


def _check_same(
    path: Path,
    found: Mapping[str, str | int | float],
    expected: Mapping[str, str | int | float],
    remedy: str,
) -> None:
    names = sorted(found.keys() | expected.keys())
    differing = [name for name in names if found.get(name) != expected.get(name)]
    if differing:
        shown = ", ".join(f"{name} was {found.get(name)} and is {expected.get(name)}" for name in differing[:3])
        raise InputError(path, f"the checkpoint belongs to other settings or another graph: {shown}", remedy)
