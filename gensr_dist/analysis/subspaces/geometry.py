"""How the subspaces of two clouds lie to each other: principal angles and CKA.

Dimensions: P points, D width, K directions, U users, S splits, R rows.
"""

from dataclasses import dataclass

import numpy as np

from gensr_dist.analysis.intervals import from_resamples
from gensr_dist.analysis.subspaces.clouds import SPLITS, Clouds, Floats, Int
from gensr_dist.evaluation.metrics import Estimate

FEWEST_USERS = 50  # with rows of both tasks, for CKA
_VARIANCE = 0.9
_MOST = 10  # directions
_SEED = 0


@dataclass(frozen=True, kw_only=True)
class Angles:
    """Mean principal angle, in degrees, between halves of the users."""

    directions: int
    across: Estimate  # both tasks
    null: Estimate  # one task


def principal_angles(clouds: Clouds) -> Angles:
    """Between both tasks' subspaces of most variance, each about its task's own mean: of so many directions as hold
    90 % of either task's variance, 10 at most.
    """
    K = max(_directions(clouds.rec_RD), _directions(clouds.search_RD))
    found = clouds.over_splits(lambda first_PD, second_PD: float(_angles(first_PD, second_PD, K).mean()))
    across, null = (from_resamples(float(each_S.mean()), each_S) for each_S in found)
    return Angles(directions=K, across=across, null=null)


def _directions(point_PD: Floats) -> int:
    variance_D = np.linalg.svd(point_PD - point_PD.mean(0), compute_uv=False) ** 2
    needed = 1 + int(np.searchsorted(np.cumsum(variance_D) / variance_D.sum(), _VARIANCE))
    return min(needed, _MOST)


def _angles(first_PD: Floats, second_PD: Floats, K: int) -> Floats:
    """In degrees [K], the smallest first (Björck and Golub 1973)."""
    first_DK, second_DK = (_basis(point_PD, K) for point_PD in (first_PD, second_PD))
    cosine_K = np.linalg.svd(first_DK.T @ second_DK, compute_uv=False)
    angle_K: Floats = np.degrees(np.arccos(cosine_K.clip(0, 1)))
    return angle_K


def _basis(point_PD: Floats, K: int) -> Floats:
    """Eigenvectors of the covariance [D, K], which has fewer rows than the points."""
    centred_PD = point_PD - point_PD.mean(0)
    return np.linalg.eigh(centred_PD.T @ centred_PD)[1][:, ::-1][:, :K]


@dataclass(frozen=True, kw_only=True)
class Likeness:
    """Linear CKA of the users' mean states in both tasks (Kornblith et al. 2019), without its bias."""

    users: int
    across: Estimate
    null: Estimate  # users shuffled: about 0


def likeness(clouds: Clouds) -> Likeness | None:
    """Of users with rows of both tasks; None where they are too few. Intervals are over random halves of them."""
    user_U = np.intersect1d(clouds.rec_user_R, clouds.search_user_R)
    if len(user_U) < FEWEST_USERS:
        return None
    rec_UD = _means(clouds.rec_RD, clouds.rec_user_R, user_U)
    search_UD = _means(clouds.search_RD, clouds.search_user_R, user_U)
    random = np.random.default_rng(_SEED)
    half_SU = [random.permutation(len(user_U))[: len(user_U) // 2] for _ in range(SPLITS)]
    across_S = np.array([cka(rec_UD[half_U], search_UD[half_U]) for half_U in half_SU])
    null_S = np.array([cka(rec_UD[half_U], search_UD[random.permutation(half_U)]) for half_U in half_SU])
    return Likeness(
        users=len(user_U),
        across=from_resamples(cka(rec_UD, search_UD), across_S),
        null=from_resamples(float(null_S.mean()), null_S),
    )


def cka(first_UD: Floats, second_UD: Floats) -> float:
    """Linear CKA with unbiased estimates of HSIC (Song et al. 2012); examples are paired. NaN without variance."""
    products = [x_UD.astype(np.float64) @ x_UD.T.astype(np.float64) for x_UD in (first_UD, second_UD)]
    for product_UU in products:
        np.fill_diagonal(product_UU, 0)
    first, second = products
    own, theirs = _hsic(first, first), _hsic(second, second)
    return _hsic(first, second) / float(np.sqrt(own * theirs)) if min(own, theirs) > 0 else float("nan")


def _hsic(first_UU: Floats, second_UU: Floats) -> float:
    U = len(first_UU)
    sums = first_UU.sum() * second_UU.sum() / ((U - 1) * (U - 2))
    rows = 2 * (first_UU.sum(0) @ second_UU.sum(0)) / (U - 2)
    return float(((first_UU * second_UU).sum() + sums - rows) / (U * (U - 3)))


def _means(value_RD: Floats, user_R: Int, user_U: Int) -> Floats:
    """Mean over the rows of each of some users; ascending ids."""
    kept_R = np.isin(user_R, user_U)
    place_R = np.searchsorted(user_U, user_R[kept_R])
    total_UD = np.zeros((len(user_U), value_RD.shape[1]))
    np.add.at(total_UD, place_R, value_RD[kept_R])
    return total_UD / np.bincount(place_R, minlength=len(user_U))[:, None]
