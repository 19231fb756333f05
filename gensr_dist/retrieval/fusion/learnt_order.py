"""A learnt order of candidates: a weighted sum of features, and hidden units over them where many rows fit them.

Dimensions: M candidates of all groups, G groups, P of them with a positive, F features, X any leading dimensions.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gensr_dist.data.sorted_keys import ranges
from gensr_dist.retrieval.fusion.hidden_units import HiddenUnits, fit_hidden_units

Float = NDArray[np.float64]
Int = NDArray[np.int64]

FEWEST = 100  # groups with a positive among their candidates: fewer do not fit a dozen weights
FEWEST_FOR_UNITS = 1_000  # groups: hidden units have a hundred weights and more
_HELD_OUT = 5  # one group in so many judges them
_PRIOR = 2.0  # times the squared weights of features of unit deviation, against one a group: few groups fit little


@dataclass(frozen=True, kw_only=True)
class LearntOrder:
    """Score = sum over features of weight x (value - mean) / deviation, and what hidden units say of the latter."""

    features: tuple[str, ...]
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    weight: tuple[float, ...]
    groups: int  # that it was fitted on
    loss: float  # mean -log of the positive's share among its group's candidates
    even: float  # the same, were all candidates alike
    units: HiddenUnits | None = None  # beside the sum
    gain: float = 0.0  # what they take from the loss on groups that they were not fitted on

    def score(self, feature_XF: NDArray[np.floating]) -> Float:
        """Scores of candidates, any leading shape."""
        value_XF = (feature_XF.astype(np.float64) - np.asarray(self.mean)) / np.asarray(self.deviation)
        return _scores(value_XF, np.asarray(self.weight), self.units)

    def lines(self) -> tuple[str, ...]:
        """Weights for people, the heaviest first."""
        units = f"; {len(self.units.out)} hidden units take {self.gain:.3f} from held-out rows" if self.units else ""
        order = sorted(range(len(self.weight)), key=lambda place: -abs(self.weight[place]))
        return (
            f"fitted on {self.groups:,} validation rows: -log share of the positive {self.loss:.3f} (all alike "
            f"{self.even:.3f}){units}",
            "weights a deviation: " + ", ".join(f"{self.features[f]} {self.weight[f]:+.2f}" for f in order),
        )


def fit_order(
    features: Sequence[str], feature_MF: NDArray[np.floating], start_G: Int, positive_G: Int
) -> LearntOrder | None:
    """Maximise sum_g log softmax of the positive's score among the candidates of g, minus a ridge, by L-BFGS.

    Hidden units are fitted on top of that, see `hidden_units.py`, and kept where they help groups that were held out.

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
    value_MF = feature_MF[ranges(start_G[fitted_P], length_P)].astype(np.float64)
    mean_F, deviation_F = value_MF.mean(axis=0), value_MF.std(axis=0)
    deviation_F[deviation_F < 1e-9 * np.maximum(1, np.abs(mean_F))] = 1
    value_MF = (value_MF - mean_F) / deviation_F
    target_P = positive_G[fitted_P] - start_G[fitted_P] + first_P
    target_F = value_MF[target_P].sum(axis=0)
    ridge = _PRIOR / len(fitted_P)

    def loss(weight_F: Float) -> tuple[float, Float]:
        loss_P, share_M = _losses(value_MF @ weight_F, first_P, length_P, target_P)
        slope_F = (share_M @ value_MF - target_F) / len(fitted_P)
        return loss_P.sum() / len(fitted_P) + ridge * weight_F @ weight_F, slope_F + 2 * ridge * weight_F

    from scipy.optimize import minimize  # a third of a second, which answering does not need

    found = minimize(loss, np.zeros(len(features)), jac=True, method="L-BFGS-B", options={"maxiter": 200})
    weight_F, units, gain = _with_units(value_MF, first_P, length_P, target_P, found.x)
    loss_P, _ = _losses(_scores(value_MF, weight_F, units), first_P, length_P, target_P)
    return LearntOrder(
        features=tuple(features),
        mean=tuple(mean_F.tolist()),
        deviation=tuple(deviation_F.tolist()),
        weight=tuple(weight_F.tolist()),
        units=units,
        groups=len(fitted_P),
        loss=float(loss_P.mean()),
        even=float(np.log(length_P).mean()),
        gain=gain,
    )


def _with_units(
    value_MF: Float, first_P: Int, length_P: Int, target_P: Int, weight_F: Float
) -> tuple[Float, HiddenUnits | None, float]:
    """Hidden units, if groups that they were not fitted on are better off with them, and by how much."""
    if len(first_P) < FEWEST_FOR_UNITS:
        return weight_F, None, 0.0
    held_P = np.arange(len(first_P)) % _HELD_OUT == 0
    tried_F, tried = fit_hidden_units(value_MF, first_P[~held_P], length_P[~held_P], target_P[~held_P], weight_F)
    alone, together = (
        float(_losses(_scores(value_MF, *order), first_P, length_P, target_P)[0][held_P].mean())
        for order in ((weight_F, None), (tried_F, tried))
    )
    if together >= alone:
        return weight_F, None, 0.0
    return *fit_hidden_units(value_MF, first_P, length_P, target_P, weight_F), alone - together


def _scores(value_MF: Float, weight_F: Float, units: HiddenUnits | None) -> Float:
    sum_M: Float = value_MF @ weight_F
    return sum_M if units is None else sum_M + units.score(value_MF)


def _losses(score_M: Float, first_P: Int, length_P: Int, target_P: Int) -> tuple[Float, Float]:
    """-log share of each group's positive [P], and the share of every candidate among its group's [M]."""
    best_P = np.maximum.reduceat(score_M, first_P)
    share_M = np.exp(score_M - np.repeat(best_P, length_P))
    total_P = np.add.reduceat(share_M, first_P)
    return best_P + np.log(total_P) - score_M[target_P], share_M / np.repeat(total_P, length_P)
