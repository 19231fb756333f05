"""Recall@K, NDCG@K and MRR from the rank of each row's one positive, with bootstrap intervals over users.

Dimensions: R rows, C candidates (column 0 is the positive), D distinct ranks, B bootstrap resamples, M metrics (recall
and NDCG at each cutoff, then MRR).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

from gensr_dist.data.events import Behaviour
from gensr_dist.evaluation.resampling import UserTotals

CUTOFFS = (1, 5, 10, 20)
CUTOFF = 10  # of what is tested, divided and compared
CANDIDATE_CUTOFFS = (50, 100, 200, 500)  # of candidates before a model has put them in order
MISSED = np.iinfo(np.int64).max  # rank of a positive that never became a candidate: no hit at any cutoff
CONFIDENCE = 0.95
TAILS = ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2)  # quantiles of resamples, of an interval
TASK_NAMES: Mapping[Behaviour, str] = {Behaviour.RECOMMENDATION: "rec", Behaviour.SEARCH: "search"}
TASK_TITLES: Mapping[Behaviour, str] = {Behaviour.RECOMMENDATION: "Recommendation", Behaviour.SEARCH: "Search"}


def pessimistic_ranks(score_RC: NDArray[np.floating]) -> NDArray[np.int64]:
    """Rank of column 0 in each row; ties count against it, and so does what is not a number."""
    return 1 + (~(score_RC[:, 1:] < score_RC[:, :1])).sum(axis=1)


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A mean over test rows and its bootstrap interval over users at CONFIDENCE."""

    value: float
    interval: tuple[float, float] | None  # None where nothing was resampled


@dataclass(frozen=True, kw_only=True)
class TaskMetrics:
    """How well one scorer ranks the positives of one task."""

    recall: Mapping[int, Estimate]  # by cutoff
    ndcg: Mapping[int, Estimate]  # by cutoff
    mrr: Estimate
    count: int  # rows

    @classmethod
    def from_ranks(cls, rank_R: NDArray[np.int64], user_R: NDArray[np.int64], *, resamples: int, seed: int) -> Self:
        """Means over rows and percentile-bootstrap intervals, of resampled users.

        Args:
            rank_R: rank of each positive, 1 is best; MISSED gives no gain.
            user_R: user of each row, whose rows are drawn together.
            resamples: bootstrap resamples B; with 0 there are no intervals.
            seed: of the resampling.
        """
        value_M = _means(rank_R)
        interval_M: list[tuple[float, float] | None] = [None] * len(value_M)
        if resamples > 0:
            totals = UserTotals.of(user_R, _gains(rank_R), falling=True)  # from the best rank, as gains fall with it
            bounds_2M = np.quantile(totals.resampled(np.random.default_rng(seed), resamples), TAILS, axis=0)
            interval_M = [(low, high) for low, high in bounds_2M.T.tolist()]
        estimate_M = [
            Estimate(value=value, interval=interval)
            for value, interval in zip(value_M.tolist(), interval_M, strict=True)
        ]
        cutoffs = len(CUTOFFS)
        return cls(
            recall=dict(zip(CUTOFFS, estimate_M[:cutoffs], strict=True)),
            ndcg=dict(zip(CUTOFFS, estimate_M[cutoffs : 2 * cutoffs], strict=True)),
            mrr=estimate_M[-1],
            count=len(rank_R),
        )

    def named(self) -> dict[str, Estimate]:
        """Every estimate under its published name: `recall@1` ... `ndcg@20`, `mrr`."""
        return {
            **{f"recall@{cutoff}": estimate for cutoff, estimate in self.recall.items()},
            **{f"ndcg@{cutoff}": estimate for cutoff, estimate in self.ndcg.items()},
            "mrr": self.mrr,
        }

    def values(self) -> dict[str, float]:
        """The same without intervals."""
        return {name: estimate.value for name, estimate in self.named().items()}


@dataclass(frozen=True, kw_only=True)
class CandidateMetrics:
    """How often the positives are among the first candidates of a task, whose order no model made."""

    task: Behaviour
    recall: Mapping[int, float]  # of the fusion of channels, by cutoff
    union: Mapping[int, float]  # share found within the cutoff by some channel
    channels: Mapping[str, Mapping[int, float]]  # recall of each channel alone, by cutoff
    count: int  # rows

    @classmethod
    def from_ranks(cls, task: Behaviour, ranks: Mapping[str, NDArray[np.int64]], *, fusion: str) -> Self:
        """From the rank of each positive in every channel and in the fusion; MISSED where it is not proposed.

        Args:
            task: of the rows.
            ranks: by name, of the same rows.
            fusion: name of the fusion among them.
        """
        assert len(ranks[fusion]) > 0, "a task without rows has no metrics"
        channels = {name: rank_R for name, rank_R in ranks.items() if name != fusion}
        return cls(
            task=task,
            recall=_recall(ranks[fusion]),
            union=_recall(np.minimum.reduce(list(channels.values()))),
            channels={name: _recall(rank_R) for name, rank_R in channels.items()},
            count=len(ranks[fusion]),
        )


def mean_metrics(rank_R: NDArray[np.int64]) -> dict[str, float]:
    """What `TaskMetrics.values` gives of the same ranks."""
    names = (*(f"{name}@{cutoff}" for name in ("recall", "ndcg") for cutoff in CUTOFFS), "mrr")
    return dict(zip(names, _means(rank_R).tolist(), strict=True))


def short_name(metric: str) -> str:
    """`R@5`, `N@10` or `MRR`, as tables have it."""
    return metric.replace("recall", "R").replace("ndcg", "N").replace("mrr", "MRR")


def _recall(rank_R: NDArray[np.int64]) -> dict[int, float]:
    return {cutoff: float(recall_gain(rank_R, cutoff).mean()) for cutoff in CANDIDATE_CUTOFFS}


def reach_of(rank_R: NDArray[np.int64], last: int) -> tuple[float, ...]:
    """Share of rows whose positive is among the first 1, 2, ... 1 + `last`, all the candidates of a row."""
    count_K = np.bincount(rank_R - 1, minlength=1 + last)
    return tuple((np.cumsum(count_K) / len(rank_R)).tolist())


def recall_gain(rank_R: NDArray[np.int64], cutoff: int) -> NDArray[np.float64]:
    """1 where the positive is among the first `cutoff`, else 0; [R]."""
    return (rank_R <= cutoff).astype(np.float64)


def ndcg_gain(rank_R: NDArray[np.int64], cutoff: int) -> NDArray[np.float64]:
    """1 / log2(1 + rank) among the first `cutoff`, else 0: with one positive the ideal DCG is 1; [R]."""
    return np.where(rank_R <= cutoff, 1 / np.log2(1.0 + rank_R), 0.0)


def reciprocal_gain(rank_R: NDArray[np.int64]) -> NDArray[np.float64]:
    """1 / rank, and 0 for MISSED; [R]."""
    return np.where(rank_R == MISSED, 0.0, 1.0 / rank_R)


def _means(rank_R: NDArray[np.int64]) -> NDArray[np.float64]:
    """Over rows, [M]."""
    assert len(rank_R) > 0, "a task without rows has no metrics"
    rank_D, count_D = np.unique(rank_R, return_counts=True)
    return count_D @ _gains(rank_D) / len(rank_R)


def _gains(rank_R: NDArray[np.int64]) -> NDArray[np.float64]:
    """[R, M]."""
    columns = [recall_gain(rank_R, cutoff) for cutoff in CUTOFFS]
    columns += [ndcg_gain(rank_R, cutoff) for cutoff in CUTOFFS]
    return np.stack([*columns, reciprocal_gain(rank_R)], axis=1)
