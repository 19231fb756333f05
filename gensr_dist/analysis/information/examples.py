"""What information is measured between: a model's input and its answer, and how users are divided.

Dimensions: X examples (two a row: its positive, then its first frozen negative), D width of an input, U users, F folds,
N draws, P examples of a part, B resamples.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gensr_dist.analysis.information.channels import entropy_of_bit
from gensr_dist.analysis.information.estimators import Samples, UserSplit
from gensr_dist.analysis.states import States
from gensr_dist.evaluation.resampling import drawn

DRAWS = 8  # of each answer: less noise of drawing, no new inputs
_FOLDS, _CALIBRATE = 5, 0.2
_NEWTON, _RIDGE = 50, 1e-3
_RESAMPLES = 1_000


@dataclass(frozen=True, kw_only=True)
class Users:
    """Users of a task: some calibrate, and are not used again; the others are divided, by seed, into folds."""

    calibrating_U: NDArray[np.int64]
    folds: tuple[tuple[NDArray[np.int64], ...], ...]  # of each seed: to estimate, to stop, to train

    @classmethod
    def divided(cls, user_X: NDArray[np.int64], seeds: int) -> "Users":
        """Five seeds estimate on each user once; more seeds divide again."""
        order_U = np.random.default_rng(0).permutation(np.unique(user_X))
        calibrating_U, other_U = np.split(order_U, [round(_CALIBRATE * len(order_U))])
        folds = []
        for seed in range(seeds):
            shuffled_U = np.random.default_rng(1 + seed // _FOLDS).permutation(other_U)
            parts = np.array_split(shuffled_U, _FOLDS)
            estimate_U, stop_U, *train = (parts[(seed + place) % _FOLDS] for place in range(_FOLDS))
            folds.append((estimate_U, stop_U, np.concatenate(train)))
        return cls(calibrating_U=calibrating_U, folds=tuple(folds))

    def splits(self, group_N: NDArray[np.int64]) -> tuple[UserSplit, ...]:
        """Of draws that belong to users, in random order."""
        rng = np.random.default_rng(0)
        found = []
        for of_seed in self.folds:
            estimate_P, stop_P, train_P = (rng.permutation(np.flatnonzero(np.isin(group_N, part))) for part in of_seed)
            found.append(UserSplit(train_P=train_P, stop_P=stop_P, estimate_P=estimate_P))
        return tuple(found)


@dataclass(frozen=True, kw_only=True)
class CalibratedAnswers:
    """Inputs and calibrated answers of a model to the examples of a task, without the users that calibrated it."""

    input_XD: NDArray[np.float32]
    chance_X: NDArray[np.float64]  # P(Yes)
    clicked_X: NDArray[np.bool_]
    user_X: NDArray[np.int64]

    @classmethod
    def of(cls, states: States, user_X: NDArray[np.int64], users: Users) -> "CalibratedAnswers":
        """From the states of both candidates of each row."""
        clicked_X = np.arange(len(user_X)) % 2 == 0
        calibrating_X = np.isin(user_X, users.calibrating_U)
        log_odds_X = states.log_odds_X.astype(np.float64)
        slope, shift = platt(log_odds_X[calibrating_X], clicked_X[calibrating_X])
        chance_X = 1 / (1 + np.exp(-np.clip(slope * log_odds_X + shift, -50, 50)))
        kept_X = ~calibrating_X
        return cls(
            input_XD=states.input_XD[kept_X],
            chance_X=chance_X[kept_X],
            clicked_X=clicked_X[kept_X],
            user_X=user_X[kept_X],
        )

    def draws(self) -> Samples:
        """Each input with answers drawn from its chance, 1 or -1."""
        yes_XR = np.random.default_rng(0).random((len(self.user_X), DRAWS)) < self.chance_X[:, None]
        return self._samples(yes_XR)

    def labels(self) -> Samples:
        """Each input with whether it was clicked."""
        return self._samples(self.clicked_X[:, None])

    def plug_in_parts(self) -> NDArray[np.float64]:
        """Each example's part [X], nats, of H(mean p) - mean H(p); to first order its influence, as of other bounds."""
        mean = float(self.chance_X.mean())
        slope = np.log1p(-mean) - np.log(mean)  # of H
        of_mean = entropy_of_bit(np.array(mean)) + slope * (self.chance_X - mean)
        parts_X: NDArray[np.float64] = of_mean - entropy_of_bit(self.chance_X)
        return parts_X

    def entropy(self) -> float:
        """H(Y), nats."""
        return float(entropy_of_bit(self.chance_X.mean()))

    def _samples(self, yes_XR: NDArray[np.bool_]) -> Samples:
        draws = yes_XR.shape[1]
        return Samples(
            x_ND=np.repeat(self.input_XD, draws, axis=0),
            y_NO=np.where(yes_XR.reshape(-1, 1), 1, -1).astype(np.float32),
            group_N=np.repeat(self.user_X, draws),
        )


def platt(log_odds_X: NDArray[np.float64], clicked_X: NDArray[np.bool_]) -> tuple[float, float]:
    """Slope and shift of log-odds that give the labels the highest likelihood (Platt 1999), by Newton's method."""
    unit = max(float(np.abs(log_odds_X).max()), 1e-9)
    term_X2 = np.stack([log_odds_X / unit, np.ones_like(log_odds_X)], 1)
    weight_2 = np.zeros(2)
    for _ in range(_NEWTON):
        chance_X = 1 / (1 + np.exp(-np.clip(term_X2 @ weight_2, -50, 50)))
        slope_2 = term_X2.T @ (chance_X - clicked_X) + _RIDGE * weight_2
        curve_22 = (term_X2 * (chance_X * (1 - chance_X))[:, None]).T @ term_X2 + _RIDGE * np.eye(2)
        weight_2 = weight_2 - np.clip(np.linalg.solve(curve_22, slope_2), -5, 5)
    return float(weight_2[0] / unit), float(weight_2[1])


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Parts of a bound, summed by user."""

    total_U: NDArray[np.float64]
    count_U: NDArray[np.float64]

    @classmethod
    def of(cls, part_P: NDArray[np.float64], user_P: NDArray[np.int64], every_U: NDArray[np.int64]) -> "Parts":
        """By user, in the order of `every_U`, which is sorted."""
        place_P = np.searchsorted(every_U, user_P)
        size = len(every_U)
        total_U = np.bincount(place_P, part_P, size).astype(np.float64)
        return cls(total_U=total_U, count_U=np.bincount(place_P, minlength=size).astype(np.float64))

    def mean(self) -> float:
        """The bound."""
        return float(self.total_U.sum() / self.count_U.sum())

    def resampled(self, weight_BU: NDArray[np.float64]) -> NDArray[np.float64]:
        """The bound of resamples [B] of the users."""
        value_B: NDArray[np.float64] = weight_BU @ self.total_U / (weight_BU @ self.count_U)
        return value_B


def resamples(users: int) -> NDArray[np.float64]:
    """How often each user is drawn [B, U]."""
    return drawn(np.random.default_rng(0), users, _RESAMPLES)
