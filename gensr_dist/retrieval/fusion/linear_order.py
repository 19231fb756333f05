"""A learnt order of candidates: a weighted sum of features, fitted by the likelihood of each row's positive.

Dimensions: M candidates of all groups, G groups, F features.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]
Int = NDArray[np.int64]

FEWEST = 100  # groups with a positive among their candidates: fewer do not fit a dozen weights
_PRIOR = 2.0  # times the squared weights of features of unit deviation, against one a group: few groups fit little


@dataclass(frozen=True, kw_only=True)
class LinearOrder:
    """Score = sum over features of weight x (value - mean) / deviation."""

    features: tuple[str, ...]
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    weight: tuple[float, ...]
    groups: int  # that it was fitted on
    loss: float  # mean -log of the positive's share among its group's candidates
    even: float  # the same, were all candidates alike

    def score(self, feature_XF: NDArray[np.floating]) -> Float:
        """Scores of candidates, any leading shape."""
        slope_F = np.asarray(self.weight) / np.asarray(self.deviation)
        scores: Float = (feature_XF.astype(np.float64) - np.asarray(self.mean)) @ slope_F
        return scores

    def lines(self) -> tuple[str, ...]:
        """Weights for people, the heaviest first."""
        order = sorted(range(len(self.weight)), key=lambda place: -abs(self.weight[place]))
        return (
            f"fitted on {self.groups:,} validation rows: -log share of the positive {self.loss:.3f} (all alike "
            f"{self.even:.3f})",
            "weights a deviation: " + ", ".join(f"{self.features[f]} {self.weight[f]:+.2f}" for f in order),
        )


def fit_order(
    features: Sequence[str], feature_MF: NDArray[np.floating], start_G: Int, positive_G: Int
) -> LinearOrder | None:
    """Maximise sum_g log softmax of the positive's score among the candidates of g, minus a ridge, by L-BFGS.

    Args:
        features: names.
        feature_MF: of all candidates, group by group.
        start_G: [G + 1] into them.
        positive_G: place of each group's positive in `feature_MF`; -1 where it is no candidate.

    Returns:
        None where fewer than FEWEST groups have their positive among their candidates.
    """
    fitted_P = np.flatnonzero(positive_G >= 0)
    if len(fitted_P) < FEWEST:
        return None
    length_P = np.diff(start_G)[fitted_P]
    first_P = np.concatenate([[0], np.cumsum(length_P)])[:-1]
    kept_M = np.repeat(start_G[fitted_P] - first_P, length_P) + np.arange(length_P.sum())
    value_MF = feature_MF[kept_M].astype(np.float64)
    mean_F, deviation_F = value_MF.mean(axis=0), value_MF.std(axis=0)
    deviation_F[deviation_F < 1e-9 * np.maximum(1, np.abs(mean_F))] = 1
    value_MF = (value_MF - mean_F) / deviation_F
    target_P = positive_G[fitted_P] - start_G[fitted_P] + first_P
    target_F = value_MF[target_P].sum(axis=0)
    ridge = _PRIOR / len(fitted_P)

    def loss(weight_F: Float) -> tuple[float, Float]:
        score_M = value_MF @ weight_F
        best_P = np.maximum.reduceat(score_M, first_P)
        share_M = np.exp(score_M - np.repeat(best_P, length_P))
        total_P = np.add.reduceat(share_M, first_P)
        share_M /= np.repeat(total_P, length_P)
        value = (best_P + np.log(total_P) - score_M[target_P]).sum() / len(fitted_P)
        slope_F = (share_M @ value_MF - target_F) / len(fitted_P)
        return value + ridge * weight_F @ weight_F, slope_F + 2 * ridge * weight_F

    from scipy.optimize import minimize  # a third of a second, which answering does not need

    found = minimize(loss, np.zeros(len(features)), jac=True, method="L-BFGS-B", options={"maxiter": 200})
    return LinearOrder(
        features=tuple(features),
        mean=tuple(mean_F.tolist()),
        deviation=tuple(deviation_F.tolist()),
        weight=tuple(found.x.tolist()),
        groups=len(fitted_P),
        loss=float(found.fun - ridge * found.x @ found.x),
        even=float(np.log(length_P).mean()),
    )
