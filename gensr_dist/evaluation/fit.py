"""Training rows beside validation rows: where they part, the model has memorised or a leak tells it the answers.

Dimensions: R rows.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from typing_extensions import Self

from gensr_dist.evaluation.metrics import CUTOFF, mean_metrics, ndcg_gain
from gensr_dist.evaluation.protocol import RankedRows
from gensr_dist.storage.records import read_record, write_json

NDCG = f"ndcg@{CUTOFF}"
PARTED = 0.08  # NDCG@10 by which training rows may do better without a warning
_NOISE = 2.0  # standard errors that are taken for chance
_FEWEST = 30  # rows, fewer tell nothing
_REMEDY = "delete it, or train again"


@dataclass(frozen=True, kw_only=True)
class RowsFit:
    """How well the model does on a sample of rows of one task."""

    metrics: Mapping[str, float]  # `recall@1` ... `ndcg@20`, `mrr`
    loss: float  # mean over rows of the task loss (eq. 9), by the likelihood of Yes and No
    ndcg_error: float  # standard error of NDCG@10
    loss_error: float
    count: int  # rows

    @classmethod
    def of(cls, ranked: RankedRows) -> Self:
        """Means over rows."""
        rank_R, loss_R = ranked.rank_R, ranked.loss_R
        root = len(rank_R) ** 0.5
        return cls(
            metrics=mean_metrics(rank_R),
            loss=float(loss_R.mean()),
            ndcg_error=float(ndcg_gain(rank_R, CUTOFF).std() / root),
            loss_error=float(loss_R.std() / root),
            count=len(rank_R),
        )

    @property
    def ndcg(self) -> float:
        """NDCG@10."""
        return self.metrics[NDCG]

    def values(self) -> dict[str, float]:
        """All metrics, and the loss."""
        return {**self.metrics, "loss": self.loss}


@dataclass(frozen=True, kw_only=True)
class TaskFit:
    """One task's training rows beside its validation rows."""

    training: RowsFit | None  # None where no training row of the task has a history
    validation: RowsFit

    def gaps(self) -> dict[str, float]:
        """By how much training rows do better: in NDCG@10 those minus validation rows, in the loss the reverse."""
        if self.training is None:
            return {}
        return {
            NDCG: self.training.ndcg - self.validation.ndcg,
            "loss": self.validation.loss - self.training.loss,
        }


@dataclass(frozen=True, kw_only=True)
class StepFit:
    """A validation after so many steps."""

    step: int
    tasks: Mapping[str, TaskFit]  # by name


@dataclass(frozen=True, kw_only=True)
class FitRecord:
    """`fit.json` of a run."""

    best: StepFit | None  # of the weights in the model folder; None where an older training did not record it
    last: StepFit
    cf_saw_rows: bool  # training rows read CF vectors that their own edges have shaped (lightgcn.folds is 0)


def keep_fit(path: Path, earlier: FitRecord | None, now: StepFit, *, is_best: bool, cf_saw_rows: bool) -> FitRecord:
    """Write the record that follows `earlier` when another validation is done, and return it."""
    best = now if is_best else earlier.best if earlier else None
    record = FitRecord(best=best, last=now, cf_saw_rows=cf_saw_rows)
    write_json(path, record)
    return record


def read_fit(path: Path) -> FitRecord | None:
    """The record of a run; None where its training did not write one.

    Raises:
        InputError: the file is no such record.
    """
    if not path.exists():
        return None
    return read_record(path, FitRecord, "a training's validations", missing=_REMEDY, wrong=_REMEDY)


def fit_warnings(record: FitRecord | None) -> tuple[str, ...]:
    """A line for each task whose training rows do much better, and for each whose validation falls; mostly none."""
    if record is None or record.best is None:
        return ()
    lines = [
        line
        for name, fit in record.best.tasks.items()
        if (line := _parted(name, fit, record.best.step, record.cf_saw_rows))
    ]
    if record.last.step > record.best.step:
        lines += [
            line
            for name, fit in record.last.tasks.items()
            if name in record.best.tasks and (line := _fallen(name, record.best, record.last, fit.validation))
        ]
    return tuple(lines)


def _parted(name: str, fit: TaskFit, step: int, cf_saw_rows: bool) -> str:
    training, validation = fit.training, fit.validation
    if training is None or min(training.count, validation.count) < _FEWEST:
        return ""
    gap = training.ndcg - validation.ndcg
    if gap <= max(PARTED, _chance(training.ndcg_error, validation.ndcg_error)):
        return ""
    cause = (
        "CF vectors have seen the training rows' edges (lightgcn.folds)"
        if cf_saw_rows
        else "memorising: fewer steps, dropout, or more data"
    )
    return (
        f"{name}: {NDCG} {training.ndcg:.4f} of training rows, {validation.ndcg:.4f} of validation rows "
        f"at step {step}; {cause}"
    )


def _fallen(name: str, best: StepFit, last: StepFit, now: RowsFit) -> str:
    then = best.tasks[name].validation
    if min(then.count, now.count) < _FEWEST:
        return ""
    parts = []
    if then.ndcg - now.ndcg > _chance(then.ndcg_error, now.ndcg_error):
        parts.append(f"{NDCG} fell from {then.ndcg:.4f} to {now.ndcg:.4f}")
    if now.loss - then.loss > _chance(then.loss_error, now.loss_error):
        parts.append(f"loss rose from {then.loss:.4f} to {now.loss:.4f}")
    if not parts:
        return ""
    return (
        f"{name}: validation {' and '.join(parts)} from step {best.step} to {last.step} while training went on; "
        f"the model is that of step {best.step}"
    )


def _chance(*errors: float) -> float:
    """Difference of two means that chance may make."""
    return _NOISE * sum(error**2 for error in errors) ** 0.5
