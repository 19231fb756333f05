"""Integer keys in ascending order: distinct ones, where values stand among them, and the places of runs of them.

Dimensions: M keys, X values, P ranges.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Int = NDArray[np.int64]


def distinct(value_X: Int) -> Int:
    """Distinct values, not negative, ascending; np.unique hashes first, which is slower for many."""
    value_X = np.sort(value_X)
    return value_X[np.diff(value_X, prepend=-1) != 0]


def places(key_M: NDArray[Any], value_X: NDArray[Any]) -> Int:
    """Place of each value among ascending keys, -1 where it is not there; any shape."""
    if not len(key_M):
        return np.full(value_X.shape, -1)
    place_X = np.minimum(np.searchsorted(key_M, value_X), len(key_M) - 1)
    return np.where(key_M[place_X] == value_X, place_X, -1)


def ranges(start_P: NDArray[np.integer], length_P: NDArray[np.integer]) -> Int:
    """start, start + 1, ... of each of P ranges, one after the other."""
    before_P = np.cumsum(length_P) - length_P
    return np.arange(int(length_P.sum())) + np.repeat(start_P - before_P, length_P)
