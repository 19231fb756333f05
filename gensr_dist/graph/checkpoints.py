"""Checkpoints of LightGCN (see `CheckpointSeries`), bound to settings and graph, free of the number of ranks.

The folder of a training holds `step_00000123` (vectors and Adam's moments) and `best_00010`, the propagated vectors of
the best epoch so far, which thus need no memory. When the training is done, `finished.json` takes the place of the
former. With several hosts the folder must lie on a file system that all of them share.

Dimensions: N nodes (users first), E width, e columns of this rank.
"""

import shutil
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from gensr_dist.errors import InputError
from gensr_dist.graph.ranks import ColumnRanks
from gensr_dist.graph.tables import read_columns, write_table
from gensr_dist.graph.trainer import TABLES, ColumnTrainer
from gensr_dist.storage.arrays import open_array
from gensr_dist.storage.checkpoint_series import CheckpointSeries, Settings, check_same_settings
from gensr_dist.storage.durable import durable_folder
from gensr_dist.storage.records import write_json

_FINISHED = "finished.json"


@dataclass(frozen=True, kw_only=True)
class GraphProgress:
    """How far a training is; all that a checkpoint keeps besides tables."""

    settings: Settings  # what the vectors depend on: a checkpoint of others is refused
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


class GraphCheckpoints:
    """The checkpoints of one training. Every rank must make the same calls.

    Args:
        folder: that holds them and nothing else.
        ranks: who owns which columns.
        width: E.
    """

    def __init__(self, folder: Path, ranks: ColumnRanks, width: int) -> None:
        self.folder, self.ranks, self.width = folder, ranks, width
        self.series = CheckpointSeries(
            folder=folder,
            tables=[f"{name}.npy" for name in TABLES],
            progress=GraphProgress,
            remedy=f"delete {folder} to start LightGCN over",
        )

    def save(self, progress: GraphProgress, trainer: ColumnTrainer) -> None:
        """Write a checkpoint, then delete what it replaces."""
        with self._on_first(self.series.written(trainer.steps, progress)) as temporary:
            for name, table_Ne in trainer.tables.items():
                write_table(temporary / f"{name}.npy", table_Ne, self.ranks, self.width)
        if self.ranks.first:
            kept = (self.series.path(trainer.steps), self.series.path_of_best(progress.best_epoch))
            self.series.keep_only({path.name for path in kept})
        self.ranks.wait()

    def save_best(self, epoch: int, out_Ne: Tensor, users: int, touched_N: np.ndarray) -> None:
        """Write the propagated vectors of an epoch, zero for untouched nodes: for them they are noise of the start.

        Args:
            epoch: finished.
            out_Ne: propagated vectors, users first.
            users: how many.
            touched_N: bool.
        """
        with self._on_first(durable_folder(self.series.path_of_best(epoch))) as temporary:
            for name, rows in (("users", slice(0, users)), ("items", slice(users, None))):
                write_table(temporary / f"{name}.npy", out_Ne[rows], self.ranks, self.width, touched_N[rows])
        self.ranks.wait()

    def best(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """Memory maps of the kept vectors: items [I, E], users [V, E].

        Raises:
            InputError: they cannot be read.
        """
        folder = self.series.path_of_best(epoch)
        item_IE, user_VE = (open_array(folder / f"{name}.npy", self.series.remedy) for name in ("items", "users"))
        return item_IE, user_VE

    def load(self, progress: GraphProgress, trainer: ColumnTrainer) -> GraphProgress:
        """Load the newest checkpoint into the trainer; without one, return `progress`.

        Args:
            progress: of a training that has not begun, with the settings of this one.
            trainer: of the same training.

        Raises:
            InputError: the checkpoint belongs to other settings or another graph, or cannot be read.
        """
        saved = self.ranks.from_first(self.series.newest_whole)
        if saved is None:
            return progress
        found = self._read(saved, progress)
        for name, table_Ne in trainer.tables.items():
            read_columns(saved / f"{name}.npy", table_Ne, trainer.columns, self.width, self.series.remedy)
        trainer.steps = int(saved.name.removeprefix("step_"))
        return found

    def finish(self, progress: GraphProgress) -> None:
        """Keep the best vectors alone, and that nothing is left to train."""
        if self.ranks.first:
            write_json(self.folder / _FINISHED, progress)
            self.series.keep_only({self.series.path_of_best(progress.best_epoch).name})
        self.ranks.wait()

    def finished(self, progress: GraphProgress) -> GraphProgress | None:
        """What `finish` kept, None where it was not called.

        Args:
            progress: of a training that has not begun, with the settings of this one.

        Raises:
            InputError: it belongs to other settings or another graph, or cannot be read.
        """
        path = self.folder / _FINISHED
        return self._read(path, progress) if path.exists() else None

    def _read(self, path: Path, progress: GraphProgress) -> GraphProgress:
        found = self.series.read(path)
        # Then those of the other trainings are no use either.
        remedy = f"delete {self.folder.parent} to start LightGCN over"
        check_same_settings(path, found.settings, progress.settings, remedy)
        best = self.series.path_of_best(found.best_epoch)
        if found.best_epoch and not best.is_dir():
            raise InputError(best, "the vectors of the best epoch are missing", self.series.remedy)
        return found

    def _on_first(self, written: AbstractContextManager[Path]) -> AbstractContextManager[Path]:
        """Where the first rank writes; the others, which write nothing, get some path."""
        return written if self.ranks.first else nullcontext(self.folder)


def discard(folder: Path, ranks: ColumnRanks) -> None:
    """Delete the checkpoints of all trainings. Every rank must call it."""
    ranks.wait()
    if ranks.first:
        shutil.rmtree(folder, ignore_errors=True)
    ranks.wait()
