"""Whether P(Yes) is a probability: what was answered against how often it was true.

A row shows 1 positive and its sampled negatives, a training group 1 and fewer. Of two worlds with the same candidates,
whose shares of positives differ, a model is calibrated in one at most. So negatives are weighed twice: each as one, as
the rows are ranked, and each so that a row has as many as a training group, whose share the model has learnt.

Dimensions: R rows, U users, C candidates (column 0 is the positive), X negatives of all rows, B bins, K bins with
answers, F numbers of a row, P parts of the users, D resamples.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

from gensr_dist.evaluation.metrics import TAILS, Estimate
from gensr_dist.evaluation.resampling import drawn

# Of probabilities; narrow at both ends, where most answers are.
EDGES = (0.0, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 1.0)
BINS = len(EDGES) - 1
NUMBERS = 2 * BINS + 1  # that `binned` finds of a row
AS_RANKED, AS_TRAINED = "as ranked", "as trained"
_PARTS = 2_000  # of the users, neighbours together, that are resampled as one where there are more users
RESAMPLES = 200  # at most

Float = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class ReliabilityBin:
    """Answers of about the same probability."""

    first: float
    last: float
    answers: float  # weighed
    predicted: float  # mean P(Yes)
    positives: float  # weighed share
    interval: tuple[float, float] | None  # of `positives`


@dataclass(frozen=True, kw_only=True)
class Reliability:
    """A curve, and how far it is from the diagonal."""

    base_rate: float  # share of positives among the weighed answers
    predicted: float  # mean P(Yes) of all
    error: Estimate  # expected calibration error: mean |predicted - positives| over answers, bin by bin
    bins: tuple[ReliabilityBin, ...]  # ascending; those without an answer are left out


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Of one task's rows."""

    curves: Mapping[str, Reliability]  # AS_RANKED, AS_TRAINED
    negatives: int  # of a row
    training_negatives: int  # of a training group
    count: int  # rows

    @classmethod
    def of(
        cls,
        found_RF: Float,
        user_R: NDArray[np.int64],
        *,
        negatives: int,
        training_negatives: int,
        resamples: int,
        seed: int,
    ) -> Self:
        """From what `binned` found of each row.

        Args:
            found_RF: of the rows, at least one.
            user_R: user of each row.
            negatives: of a row.
            training_negatives: of a training group.
            resamples: of intervals, of users; 0 makes none, and more than 200 make 200.
            seed: of the resampling.
        """
        assert len(found_RF) > 0
        order_R = np.argsort(user_R, kind="stable")  # brings the rows of a user together
        found_RF = found_RF[order_R]
        user_U, number_R = np.unique(user_R[order_R], return_inverse=True)
        parts = min(len(user_U), _PARTS)
        part_R = number_R * parts // len(user_U)
        first_P = np.searchsorted(part_R, np.arange(parts))
        negative_PB, predicted_PB = np.split(np.add.reduceat(found_RF[:, :-1], first_P, axis=0), 2, axis=1)
        yes_R = found_RF[:, -1]
        place_R = part_R * BINS + _bin_of(yes_R)
        positive_PB = np.bincount(place_R, minlength=parts * BINS).reshape(parts, BINS).astype(np.float64)
        right_PB = np.bincount(place_R, yes_R, parts * BINS).reshape(parts, BINS)
        draw_DP = drawn(np.random.default_rng(seed), parts, min(resamples, RESAMPLES))
        weight_DP: Float = np.concatenate([np.ones((1, parts)), draw_DP])  # the first is the rows themselves
        weights = {AS_RANKED: 1.0, AS_TRAINED: training_negatives / negatives}
        return cls(
            curves={
                name: _reliability(
                    weight_DP @ (positive_PB + weight * negative_PB),
                    weight_DP @ (right_PB + weight * predicted_PB),
                    weight_DP @ positive_PB,
                )
                for name, weight in weights.items()
            },
            negatives=negatives,
            training_negatives=training_negatives,
            count=len(found_RF),
        )


def binned(log_odds_RC: NDArray[np.floating]) -> Float:
    """What calibration needs of each row's log-odds of Yes: little, however many candidates it has.

    Returns:
        [R, NUMBERS]: negatives of each bin, the sum of their P(Yes) in each bin, then P(Yes) of the positive.
    """
    rows = len(log_odds_RC)
    yes_RC = 1 / (1 + np.exp(-np.clip(log_odds_RC.astype(np.float64), -40, 40)))
    place_X = (np.arange(rows)[:, None] * BINS + _bin_of(yes_RC[:, 1:])).ravel()
    count_RB = np.bincount(place_X, minlength=rows * BINS).reshape(rows, BINS)
    sum_RB = np.bincount(place_X, yes_RC[:, 1:].ravel(), rows * BINS).reshape(rows, BINS)
    return np.concatenate([count_RB, sum_RB, yes_RC[:, :1]], axis=1)


def _bin_of(yes: Float) -> NDArray[np.int64]:
    place: NDArray[np.int64] = np.searchsorted(EDGES, yes, side="right") - 1
    return np.clip(place, 0, BINS - 1)


def _reliability(answers_DB: Float, predicted_DB: Float, positive_DB: Float) -> Reliability:
    """From weighed answers, their P(Yes) summed, and positives: of the rows themselves, then of resamples."""
    error_D = np.abs(predicted_DB - positive_DB).sum(axis=1) / answers_DB.sum(axis=1)
    resampled = len(answers_DB) > 1
    share_DB = np.divide(positive_DB, answers_DB, out=np.full_like(positive_DB, np.nan), where=answers_DB > 0)
    (filled_K,) = np.nonzero(answers_DB[0] > 0)
    total = float(answers_DB[0].sum())
    return Reliability(
        base_rate=float(positive_DB[0].sum()) / total,
        predicted=float(predicted_DB[0].sum()) / total,
        error=Estimate(value=float(error_D[0]), interval=_interval(error_D[1:]) if resampled else None),
        bins=tuple(
            ReliabilityBin(
                first=EDGES[place],
                last=EDGES[place + 1],
                answers=float(answers_DB[0, place]),
                predicted=float(predicted_DB[0, place] / answers_DB[0, place]),
                positives=float(share_DB[0, place]),
                interval=_interval(share_DB[1:, place]) if resampled else None,
            )
            for place in filled_K.tolist()
        ),
    )


def _interval(value_D: Float) -> tuple[float, float] | None:
    """Percentiles of resamples, those aside that had no answer; None where none had."""
    value_D = value_D[~np.isnan(value_D)]
    if not len(value_D):
        return None
    low, high = np.quantile(value_D, TAILS)
    return float(low), float(high)
