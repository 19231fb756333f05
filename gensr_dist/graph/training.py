"""LightGCN training: BPR over recommendation training events (footnote 1 of the paper), early stopping on recall.

Dimensions: V users, I items, N = V + I nodes (users first), E width, e columns of this rank.
"""

import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
from tqdm import tqdm

from gensr_dist.data.timelines.timelines import Timelines
from gensr_dist.errors import InputError
from gensr_dist.graph.batches import EdgeBatches
from gensr_dist.graph.checkpoints import Checkpoints, Progress
from gensr_dist.graph.config import LightGCNConfig
from gensr_dist.graph.edges import Edges, recommendation_edges
from gensr_dist.graph.ranks import ColumnRanks
from gensr_dist.graph.recall import CatalogueRecall
from gensr_dist.graph.trainer import ColumnTrainer
from gensr_dist.graph.vectors import save_cf


class ScalarWriter(Protocol):
    """What we need of a TensorBoard `SummaryWriter`."""

    def add_scalar(self, tag: str, scalar_value: float, global_step: int) -> None:
        """Record one value."""


@dataclass(frozen=True, kw_only=True)
class LightGCNResult:
    """What LightGCN training did."""

    epochs: int
    best_epoch: int  # whose vectors were kept
    recall_at_20: float | None  # of that epoch; None where no validation event can be used
    recall_curve: tuple[tuple[int, float], ...]  # (epoch, recall@20)
    users: int
    items: int
    edges: int
    untouched_users: int  # without a training edge; their vector is zero
    untouched_items: int
    validated_users: int
    seconds: float  # over all resumptions


def train_lightgcn(
    windows: Iterable[tuple[int, Timelines]],
    users: int,
    items: int,
    config: LightGCNConfig,
    seed: int,
    folder: Path,
    checkpoint: Path,
    *,
    ranks: ColumnRanks | None = None,
    resume: bool = True,
    writer: ScalarWriter | None = None,
) -> LightGCNResult:
    """Train LightGCN and write `items.npy` [I, E], `users.npy` [V, E] and `lightgcn.json` to `folder`, all or none.

    The kept vectors are those of the epoch with the best recall@20 or, without validation events, of the last epoch.
    The same seed gives the same vectors on the same CPU with the same number of threads and ranks, interrupted or not.

    Args:
        windows: all events, by ascending users: (row of a window's first user, its timelines). Positive recommendation
            events of the training split become edges, those of the validation split decide when to stop, and nothing
            else is looked at.
        users: number of users V.
        items: number of items I.
        config: settings.
        seed: of the first vectors, the order of edges and the negatives.
        folder: receives the files.
        checkpoint: folder of the checkpoints, deleted at the end.
        ranks: that train together; each calls this function. None: this process alone.
        resume: go on from the checkpoint, if there is one, instead of deleting it.
        writer: receives loss and recall, if given; after a resumption also those from before it.

    Raises:
        InputError: there is no training edge, the ranks cannot share the width, the checkpoint belongs to another
            training or is damaged, or the loss is not finite.
    """
    ranks = ranks or ColumnRanks()
    ranks.columns(config.width)  # refuses before any work
    train, valid = recommendation_edges(windows, users=users, items=items)
    if not len(train):
        raise InputError(
            "lightgcn",
            "the training split has no positive recommendation event, so there is no graph to train on",
            "check data.split and the recommendation log of the source",
        )
    training = _Training(train, valid, config, seed, checkpoint, ranks, writer if ranks.first else None)
    if not resume:
        training.checkpoints.discard()
    training.run()
    result = training.result()
    if ranks.first:
        record = {"settings": asdict(config), "seed": seed, "result": asdict(result)}
        save_cf(folder, *training.checkpoints.best(result.best_epoch), record)
    training.checkpoints.discard()
    return result


class _Training:
    """The loop over epochs, validations and checkpoints."""

    def __init__(
        self,
        train: Edges,
        valid: Edges,
        config: LightGCNConfig,
        seed: int,
        checkpoint: Path,
        ranks: ColumnRanks,
        writer: ScalarWriter | None,
    ) -> None:
        self.config, self.ranks, self.writer = config, ranks, writer
        self.edges, self.users, self.items = len(train), train.users, train.items
        self.touched_N = np.concatenate(
            [np.bincount(train.user_Z, minlength=train.users), np.bincount(train.item_Z, minlength=train.items)]
        ).astype(bool)
        self.recall = CatalogueRecall(train, valid, seed, ranks)
        self.batches = EdgeBatches(train, config.batch, seed)
        self.trainer = ColumnTrainer(train, config, seed, ranks)
        self.checkpoints = Checkpoints(checkpoint, self.trainer)
        settings = asdict(config)
        del settings["checkpoint_minutes"]  # without effect on the vectors
        settings |= {"seed": seed, "training edges": train.digest(), "validation edges": valid.digest()}
        self.progress = Progress(settings=settings)
        self.saved = time.monotonic()

    def run(self) -> None:
        """Train to the end, from the newest checkpoint if there is one."""
        self.progress = self.checkpoints.load(self.progress)
        self.started = time.monotonic() - self.progress.seconds
        for epoch, loss in enumerate(self.progress.losses, start=1):
            self._write("lightgcn/loss", loss, epoch)
        for epoch, value in self.progress.recall_curve:
            self._write("lightgcn/recall@20", value, epoch)
        with tqdm(
            desc="lightgcn",
            unit="step",
            total=self.config.epochs * self.batches.steps,
            initial=self.progress.epoch * self.batches.steps + self.progress.step,
            disable=None if self.ranks.first else True,
        ) as bar:
            while not self._finished:
                bar.set_description(f"lightgcn epoch {self.progress.epoch + 1}/{self.config.epochs}", refresh=False)
                self._epoch(bar)
        if not self.progress.best_epoch:  # nothing to validate on
            self.checkpoints.save_best(self.progress.epoch, self.trainer.propagated(), self.touched_N)
            self.progress = replace(self.progress, best_epoch=self.progress.epoch)

    def result(self) -> LightGCNResult:
        """What was done."""
        progress = self.progress
        return LightGCNResult(
            epochs=progress.epoch,
            best_epoch=progress.best_epoch,
            recall_at_20=progress.best_recall if progress.recall_curve else None,
            recall_curve=progress.recall_curve,
            users=self.users,
            items=self.items,
            edges=self.edges,
            untouched_users=int((~self.touched_N[: self.users]).sum()),
            untouched_items=int((~self.touched_N[self.users :]).sum()),
            validated_users=len(self.recall.user_S),
            seconds=round(time.monotonic() - self.started, 2),
        )

    @property
    def _finished(self) -> bool:
        return self.progress.epoch >= self.config.epochs or self.progress.stopped_early(self.config.patience)

    def _epoch(self, bar: tqdm) -> None:
        """The rest of the epoch: its steps, its validation if it has one, and the checkpoints that fall due."""
        epoch = self.progress.epoch + 1
        for batch in self.batches.epoch(epoch, self.progress.step):
            loss = self.trainer.step(*batch)
            if not np.isfinite(loss):
                raise InputError(
                    "lightgcn.learning_rate", f"the loss is {loss} in epoch {epoch}", "lower the learning rate"
                )
            self.progress = replace(self.progress, step=self.progress.step + 1, loss_sum=self.progress.loss_sum + loss)
            bar.set_postfix(
                loss=f"{loss:.4f}",
                best=f"{self.progress.best_recall:.4f}" if self.progress.recall_curve else "-",
                refresh=False,
            )
            bar.update()
            minutes = self.ranks.as_first((time.monotonic() - self.saved) / 60)
            if minutes >= self.config.checkpoint_minutes:
                self._save()
        mean = self.progress.loss_sum / max(self.batches.steps, 1)
        self.progress = replace(self.progress, epoch=epoch, step=0, loss_sum=0.0, losses=(*self.progress.losses, mean))
        self._write("lightgcn/loss", mean, epoch)
        if len(self.recall.user_S) and (epoch % self.config.validate_every == 0 or epoch == self.config.epochs):
            self._validate(epoch)
            self._save()

    def _validate(self, epoch: int) -> None:
        out_Ne = self.trainer.propagated()
        value = self.ranks.as_first(self.recall(out_Ne))
        self.progress = replace(self.progress, recall_curve=(*self.progress.recall_curve, (epoch, value)))
        self._write("lightgcn/recall@20", value, epoch)
        if value > self.progress.best_recall:
            self.progress = replace(self.progress, best_epoch=epoch, best_recall=value)
            self.checkpoints.save_best(epoch, out_Ne, self.touched_N)

    def _save(self) -> None:
        self.progress = replace(self.progress, seconds=time.monotonic() - self.started)
        self.checkpoints.save(self.progress)
        self.saved = time.monotonic()

    def _write(self, tag: str, value: float, epoch: int) -> None:
        if self.writer is not None:
            self.writer.add_scalar(tag, value, epoch)
