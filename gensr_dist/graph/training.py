"""One LightGCN training: BPR over the edges of a graph (footnote 1 of the paper), early stopping on recall.

Dimensions: V users, I items, N = V + I nodes (users first), E width, e columns of this rank.
"""

import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from torch import Tensor
from tqdm import tqdm

from gensr_dist.data.item_vectors import WHOLE
from gensr_dist.errors import InputError
from gensr_dist.graph.batches import EdgeBatches
from gensr_dist.graph.checkpoints import GraphCheckpoints, GraphProgress
from gensr_dist.graph.config import LightGCNConfig
from gensr_dist.graph.edges import Edges
from gensr_dist.graph.ranks import ColumnRanks
from gensr_dist.graph.recall import CatalogueRecall
from gensr_dist.graph.result import GraphResult
from gensr_dist.graph.trainer import ColumnTrainer


class ScalarWriter(Protocol):
    """What we need of a TensorBoard `SummaryWriter`."""

    def add_scalar(self, tag: str, scalar_value: float, global_step: int) -> None:
        """Record one value."""


@dataclass(frozen=True)
class TrainedVectors:
    """A finished training; its vectors are mapped from its checkpoint folder."""

    result: GraphResult
    item_IE: np.ndarray
    user_VE: np.ndarray
    seconds: float  # over all resumptions


class GraphTraining:
    """One training among those of a stage, from its checkpoint on if there is one.

    Args:
        train: edges of its graph.
        valid: edges that decide when to stop.
        fold: whose users' edges are left out, or WHOLE.
        config: settings.
        seed: of the first vectors, the order of edges and the negatives.
        checkpoints: folder of the checkpoints of all trainings.
        ranks: that train together; each makes the same calls.
        writer: receives loss and recall, if given; after a resumption also those from before it.
    """

    def __init__(
        self,
        train: Edges,
        valid: Edges,
        fold: int,
        config: LightGCNConfig,
        seed: int,
        checkpoints: Path,
        ranks: ColumnRanks,
        writer: ScalarWriter | None,
    ) -> None:
        self.train, self.fold, self.config, self.seed = train, fold, config, seed
        self.ranks, self.writer = ranks, writer
        self.touched_N = np.concatenate(
            [np.bincount(train.user_Z, minlength=train.users), np.bincount(train.item_Z, minlength=train.items)]
        ).astype(bool)
        self.recall = CatalogueRecall(train, valid, seed, ranks)
        self.checkpoints = GraphCheckpoints(checkpoints / folder_name(fold), ranks, config.width)
        settings: dict[str, str | int | float] = asdict(config)
        del settings["checkpoint_minutes"]  # without effect on the vectors
        settings |= {"graph": folder_name(fold), "seed": seed}
        settings |= {"training edges": train.digest(), "validation edges": valid.digest()}
        self.progress = GraphProgress(settings=settings)

    def run(self, bar: "tqdm[Any]") -> TrainedVectors:
        """Train to the end, or do nothing where it is reached; the bar counts its steps.

        Raises:
            InputError: the checkpoint belongs to another training or is damaged, or the loss is not finite.
        """
        finished = self.checkpoints.finished(self.progress)
        if finished is None:
            loop = _Loop(self, bar)
            loop.run()
            self.progress = loop.progress
            self.checkpoints.finish(self.progress)
        else:
            self.progress = finished
            self.write_curves()
        item_IE, user_VE = self.checkpoints.best(self.progress.best_epoch)
        return TrainedVectors(self._result(), item_IE, user_VE, self.progress.seconds)

    def write_curves(self) -> None:
        """Show what was there before a resumption."""
        for epoch, loss in enumerate(self.progress.losses, start=1):
            self.write("loss", loss, epoch)
        for epoch, value in self.progress.recall_curve:
            self.write("recall@20", value, epoch)

    def write(self, name: str, value: float, epoch: int) -> None:
        """Show a value of an epoch."""
        if self.writer is not None:
            end = "" if self.fold == WHOLE else f"_{folder_name(self.fold)}"
            self.writer.add_scalar(f"lightgcn/{name}{end}", value, epoch)

    def _result(self) -> GraphResult:
        progress, users = self.progress, self.train.users
        return GraphResult(
            epochs=progress.epoch,
            best_epoch=progress.best_epoch,
            recall_at_20=progress.best_recall if progress.recall_curve else None,
            recall_curve=progress.recall_curve,
            edges=len(self.train),
            untouched_users=int((~self.touched_N[:users]).sum()),
            untouched_items=int((~self.touched_N[users:]).sum()),
            validated_users=len(self.recall.user_S),
        )


def folder_name(fold: int) -> str:
    """Of the checkpoints of a training."""
    return "whole" if fold == WHOLE else f"without_{fold}"


class _Loop:
    """The loop over epochs, validations and checkpoints; holds the trainer, which ends with it."""

    def __init__(self, training: GraphTraining, bar: "tqdm[Any]") -> None:
        self.training, self.bar = training, bar
        self.config, self.ranks, self.recall = training.config, training.ranks, training.recall
        self.checkpoints = training.checkpoints
        self.batches = EdgeBatches(training.train, self.config.batch, training.seed)
        self.trainer = ColumnTrainer(training.train, self.config, training.seed, self.ranks)
        self.progress = training.progress
        self.saved = time.monotonic()

    def run(self) -> None:
        """Train to the end, from the newest checkpoint if there is one."""
        self.progress = self.training.progress = self.checkpoints.load(self.progress, self.trainer)
        self.started = time.monotonic() - self.progress.seconds
        self.training.write_curves()
        _skip(self.bar, self.progress.epoch * self.batches.steps + self.progress.step)
        fold = self.training.fold
        name = "lightgcn" if fold == WHOLE else f"lightgcn without fold {fold + 1}/{self.config.folds},"
        while not self._finished:
            self.bar.set_description(f"{name} epoch {self.progress.epoch + 1}/{self.config.epochs}", refresh=False)
            self._epoch()
        if not self.progress.best_epoch:  # nothing to validate on
            self._save_best(self.progress.epoch, self.trainer.propagated())
            self.progress = replace(self.progress, best_epoch=self.progress.epoch)
        self.progress = replace(self.progress, seconds=time.monotonic() - self.started)

    @property
    def _finished(self) -> bool:
        return self.progress.epoch >= self.config.epochs or self.progress.stopped_early(self.config.patience)

    def _epoch(self) -> None:
        """The rest of the epoch: its steps, its validation if it has one, and the checkpoints that fall due."""
        epoch = self.progress.epoch + 1
        for batch in self.batches.epoch(epoch, self.progress.step):
            loss = self.trainer.step(*batch)
            if not np.isfinite(loss):
                raise InputError(
                    "lightgcn.learning_rate", f"the loss is {loss} in epoch {epoch}", "lower the learning rate"
                )
            self.progress = replace(self.progress, step=self.progress.step + 1, loss_sum=self.progress.loss_sum + loss)
            self.bar.set_postfix(
                loss=f"{loss:.4f}",
                best=f"{self.progress.best_recall:.4f}" if self.progress.recall_curve else "-",
                refresh=False,
            )
            self.bar.update()
            minutes = self.ranks.as_first((time.monotonic() - self.saved) / 60)
            if minutes >= self.config.checkpoint_minutes:
                self._save()
        mean = self.progress.loss_sum / max(self.batches.steps, 1)
        self.progress = replace(self.progress, epoch=epoch, step=0, loss_sum=0.0, losses=(*self.progress.losses, mean))
        self.training.write("loss", mean, epoch)
        if len(self.recall.user_S) and (epoch % self.config.validate_every == 0 or epoch == self.config.epochs):
            self._validate(epoch)
            self._save()

    def _validate(self, epoch: int) -> None:
        out_Ne = self.trainer.propagated()
        value = self.ranks.as_first(self.recall(out_Ne))
        self.progress = replace(self.progress, recall_curve=(*self.progress.recall_curve, (epoch, value)))
        self.training.write("recall@20", value, epoch)
        if value > self.progress.best_recall:
            self.progress = replace(self.progress, best_epoch=epoch, best_recall=value)
            self._save_best(epoch, out_Ne)

    def _save(self) -> None:
        self.progress = replace(self.progress, seconds=time.monotonic() - self.started)
        self.checkpoints.save(self.progress, self.trainer)
        self.saved = time.monotonic()

    def _save_best(self, epoch: int, out_Ne: Tensor) -> None:
        self.checkpoints.save_best(epoch, out_Ne, self.trainer.users, self.training.touched_N)


def _skip(bar: "tqdm[Any]", steps: int) -> None:
    """Count steps of an earlier start, but not for the speed."""
    if not bar.disable:
        bar.n += steps
        bar.initial += steps
        bar.last_print_n += steps
