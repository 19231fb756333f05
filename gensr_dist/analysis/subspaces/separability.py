"""How well a classifier tells the tasks apart (a classifier two-sample test; Lopez-Paz and Oquab 2017).

Dimensions: R rows, D width, U users, B resamples.
"""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from gensr_dist.analysis.intervals import from_resamples
from gensr_dist.analysis.subspaces.clouds import Clouds, Floats, Int
from gensr_dist.evaluation.metrics import Estimate
from gensr_dist.evaluation.resampling import drawn

Kind = Literal["linear", "neighbours"]
NEIGHBOURS = 15
_FOLDS = 5
_RESAMPLES = 1_000
_SEED = 0


def separability(clouds: Clouds, kind: Kind) -> Estimate:
    """Accuracy on users that the classifier has not seen; 0.5 is chance. Intervals resample users.

    Args:
        clouds: of both tasks.
        kind: logistic regression, or a vote of the nearest neighbours; both on standardised columns.
    """
    is_search_R = np.repeat([0, 1], [len(clouds.rec_RD), len(clouds.search_RD)])
    return _accuracy(clouds.both_RD, is_search_R, clouds.user_R, kind)


def null_separability(clouds: Clouds) -> Estimate:
    """The same of two random halves of the users of one task, recommendation: about 0.5."""
    users, place_R = np.unique(clouds.rec_user_R, return_inverse=True)
    half_R = (np.random.default_rng(_SEED).permutation(len(users)) < len(users) // 2)[place_R]
    return _accuracy(clouds.rec_RD, half_R.astype(np.int64), clouds.rec_user_R, "linear")


def _accuracy(value_RD: Floats, label_R: Int, user_R: Int, kind: Kind) -> Estimate:
    from sklearn.model_selection import StratifiedGroupKFold

    right_R = np.zeros(len(label_R))
    folds = StratifiedGroupKFold(_FOLDS, shuffle=True, random_state=_SEED)
    for train, test in folds.split(value_RD, label_R, user_R):
        if len(np.unique(label_R[train])) == 2:
            right_R[test] = (
                _classifier(kind).fit(value_RD[train], label_R[train]).predict(value_RD[test]) == label_R[test]
            )
    return by_user(right_R, user_R)


def by_user(value_R: NDArray[np.floating], user_R: Int) -> Estimate:
    """Mean over rows, with an interval that resamples users."""
    users, place_R = np.unique(user_R, return_inverse=True)
    total_U, rows_U = np.bincount(place_R, value_R), np.bincount(place_R).astype(float)
    count_BU = drawn(np.random.default_rng(_SEED), len(users), _RESAMPLES)
    return from_resamples(float(value_R.mean()), (count_BU @ total_U) / (count_BU @ rows_U))


def _classifier(kind: Kind) -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    last = LogisticRegression(max_iter=500) if kind == "linear" else KNeighborsClassifier(NEIGHBOURS)
    return make_pipeline(StandardScaler(), last)
