"""Is one scorer better than another on the same rows? A paired test on NDCG@10.

Dimensions: R rows, B resamples.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gensr_dist.data.events import Behaviour
from gensr_dist.errors import InputError
from gensr_dist.evaluation.metrics import CUTOFF, TAILS, TASK_NAMES, ndcg_gain
from gensr_dist.evaluation.resampling import UserTotals
from gensr_dist.storage.durable import durable_file
from gensr_dist.storage.records import read_record

_RESAMPLES = 10_000  # of a comparison of runs: two seconds of 25,000 users
_REMEDY = "run `gensr evaluate` on both runs over the same shards with the same evaluation.rows and seed"


@dataclass(frozen=True, kw_only=True)
class PairedTest:
    """Mean difference in NDCG@10 of paired rows, first scorer minus second."""

    difference: float
    low: float  # bootstrap interval over users at CONFIDENCE
    high: float
    p_value: float  # two-sided, of the permutation test that flips users
    count: int  # rows

    def __str__(self) -> str:
        return f"{self.difference:+.4f} [{self.low:+.4f}, {self.high:+.4f}], p = {self.p_value:.3g}"


@dataclass(frozen=True, kw_only=True)
class TaskComparison:
    """Two models on the same rows of one task."""

    first: float  # NDCG@10 of the first
    second: float
    test: PairedTest


@dataclass(frozen=True, kw_only=True)
class RunComparison:
    """What `gensr compare` found."""

    first: str  # folder
    second: str
    tasks: Mapping[str, TaskComparison]  # by name

    def lines(self) -> list[str]:
        """A line a task, for people."""
        return [
            f"{name}, {task.test.count:,} rows: NDCG@{CUTOFF} {task.first:.4f} in {self.first}, {task.second:.4f} in "
            f"{self.second}; difference {task.test}"
            for name, task in self.tasks.items()
        ]


def paired_test(
    first_R: NDArray[np.int64],
    second_R: NDArray[np.int64],
    user_R: NDArray[np.int64],
    *,
    resamples: int,
    seed: int,
) -> PairedTest:
    """Compare two scorers by the ranks that they gave the positives of the same rows.

    The interval is the percentile bootstrap over users; the p-value flips the sign of each user's summed difference at
    random (exchangeable under the null hypothesis, which the rows of one user are not one by one) and counts the flips
    that end as far from zero as the observed mean.

    Args:
        first_R: ranks by the first scorer.
        second_R: ranks by the second scorer, in the same order of rows.
        user_R: user of each row.
        resamples: B, at least 1; the smallest p-value is 1 / (B + 1).
        seed: of the resampling.
    """
    first_gain_R, second_gain_R = (ndcg_gain(rank_R, CUTOFF) for rank_R in (first_R, second_R))
    return paired_gains(first_gain_R, second_gain_R, user_R, resamples=resamples, seed=seed)


def paired_gains(
    first_R: NDArray[np.float64],
    second_R: NDArray[np.float64],
    user_R: NDArray[np.int64],
    *,
    resamples: int,
    seed: int,
) -> PairedTest:
    """`paired_test` of gains instead of ranks: of means over seeds, for example."""
    assert first_R.shape == second_R.shape
    rng = np.random.default_rng(seed)
    totals = UserTotals.of(user_R, (first_R - second_R)[:, None], falling=False)
    (observed,) = totals.mean().tolist()
    low, high = np.quantile(totals.resampled(rng, resamples)[:, 0], TAILS)
    flipped_B = np.abs(totals.flipped(rng, resamples)[:, 0])
    extreme = int(np.count_nonzero(flipped_B >= abs(observed) - 1e-12))
    return PairedTest(
        difference=observed,
        low=float(low),
        high=float(high),
        p_value=(1 + extreme) / (1 + resamples),
        count=len(first_R),
    )


class SavedRanks(NamedTuple):
    """What is kept of the test rows of one task."""

    rank_R: NDArray[np.int64]  # of the positive
    user_R: NDArray[np.int64]


def save_ranks(run: Path, task: Behaviour, rank_R: NDArray[np.int64], user_R: NDArray[np.int64]) -> None:
    """Keep ranks and users of test rows for later comparisons: RUN/ranks/rec.npy, RUN/ranks/search.npy, [2, R]."""
    with durable_file(_ranks_path(run, task)) as temporary, temporary.open("wb") as file:
        np.save(file, np.stack(SavedRanks(rank_R, user_R)), allow_pickle=False)


def load_ranks(run: Path, task: Behaviour) -> SavedRanks:
    """Read what `save_ranks` wrote.

    Raises:
        InputError: the run has no such ranks.
    """
    path = _ranks_path(run, task)
    try:
        rank_R, user_R = np.load(path, allow_pickle=False)
    except (OSError, ValueError, TypeError, EOFError) as error:
        raise InputError(path, f"no saved ranks ({error})", "run `gensr evaluate` on this run") from None
    return SavedRanks(rank_R, user_R)


def compare_runs(first: Path, second: Path) -> RunComparison:
    """Paired tests between two evaluations, of GenSR in run folders or of baselines in theirs.

    Raises:
        InputError: one is not evaluated, or the two did not rank the same rows of any task.
    """
    digest, count_of = _ranked_rows(first)
    other_digest, other_count_of = _ranked_rows(second)
    if other_digest != digest or not count_of.keys() & other_count_of.keys():
        raise InputError(second / "metrics.json", f"its test rows are not those of {first}", _REMEDY)
    tasks = {}
    for task, count in count_of.items():
        if task not in other_count_of:
            continue
        saved = [load_ranks(run, task) for run in (first, second)]
        user_R = saved[0].user_R
        for run, of_run in zip((first, second), saved, strict=True):
            if of_run.rank_R.shape != (count,) or not np.array_equal(of_run.user_R, user_R):
                raise InputError(_ranks_path(run, task), f"expected the ranks of the same {count:,} rows", _REMEDY)
        first_R, second_R = (of_run.rank_R for of_run in saved)
        tasks[TASK_NAMES[task]] = TaskComparison(
            first=float(ndcg_gain(first_R, CUTOFF).mean()),
            second=float(ndcg_gain(second_R, CUTOFF).mean()),
            test=paired_test(first_R, second_R, user_R, resamples=_RESAMPLES, seed=0),
        )
    return RunComparison(first=str(first), second=str(second), tasks=tasks)


def gensr_ranks(run: Path, rows_digest: str) -> dict[Behaviour, NDArray[np.int64]]:
    """Ranks that a run's GenSR gave to these rows; none where the run is not evaluated or ranked others.

    Raises:
        InputError: what it left cannot be read.
    """
    if not (run / "metrics.json").exists():
        return {}
    digest, count_of = _ranked_rows(run)
    return {task: load_ranks(run, task).rank_R for task in count_of} if digest == rows_digest else {}


@dataclass(frozen=True)
class _Protocol:
    rows_digest: str
    rows: Mapping[str, int]  # by name of the task


@dataclass(frozen=True)
class _Metrics:
    """What a comparison needs of `metrics.json`."""

    protocol: _Protocol


def _ranked_rows(run: Path) -> tuple[str, dict[Behaviour, int]]:
    """Digest of the rows that an evaluation ranked, and how many each task has."""
    metrics = read_record(run / "metrics.json", _Metrics, "an evaluation", missing=_REMEDY, wrong=_REMEDY)
    rows = metrics.protocol.rows
    return metrics.protocol.rows_digest, {task: rows[name] for task, name in TASK_NAMES.items() if name in rows}


def _ranks_path(run: Path, task: Behaviour) -> Path:
    return run / "ranks" / f"{TASK_NAMES[task]}.npy"
