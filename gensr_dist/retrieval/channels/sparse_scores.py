"""Scores of channels that score few items of a catalogue: entries of a sparse matrix, and a prior of every item.

Dimensions: G groups, K proposals, C candidates, I items, M entries.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from gensr_dist.retrieval.channels.contract import Float32, Int, Proposals


class SparseScores:
    """Scores of `entry_GI` + `extra_GI` + `prior_I`; items with an entry in the first are proposed.

    Equal scores come in the order of the catalogue.

    Args:
        entry_GI: float32, columns ascending in each row.
        prior_I: added to every item.
        extra_GI: another matrix of this kind, whose items are not proposed for it alone.
        allowed_I: what may be proposed; None: everything.
    """

    def __init__(
        self,
        entry_GI: csr_array,
        prior_I: Float32,
        *,
        extra_GI: csr_array | None = None,
        allowed_I: NDArray[np.bool_] | None = None,
    ) -> None:
        self.entry_GI, self.prior_I, self.extra_GI, self.allowed_I = entry_GI, prior_I, extra_GI, allowed_I

    def best(self, k: int) -> Proposals:
        """See `Scores`."""
        entry_GI = self.entry_GI
        groups = entry_GI.shape[0]
        item_GK = np.full((groups, k), -1, dtype=np.int64)
        score_GK = np.full((groups, k), -np.inf, dtype=np.float32)
        for group in range(groups):
            own = slice(entry_GI.indptr[group], entry_GI.indptr[group + 1])
            item_M, score_M = entry_GI.indices[own].astype(np.int64), entry_GI.data[own]
            if self.allowed_I is not None:
                kept_M = self.allowed_I[item_M]
                item_M, score_M = item_M[kept_M], score_M[kept_M]
            score_M = score_M + self.prior_I[item_M]
            if self.extra_GI is not None:
                score_M = score_M + _entries(self.extra_GI, group, item_M)
            if len(item_M) > k:  # only those that can be among the first k are sorted
                chosen_M = score_M >= np.partition(score_M, len(score_M) - k)[-k]
                item_M, score_M = item_M[chosen_M], score_M[chosen_M]
            first_K = np.lexsort((item_M, -score_M))[:k]
            item_GK[group, : len(first_K)], score_GK[group, : len(first_K)] = item_M[first_K], score_M[first_K]
        return Proposals(item_GK, score_GK)

    def of(self, item_GC: Int) -> Float32:
        """See `Scores`."""
        score_GC = self.prior_I[np.maximum(item_GC, 0)]
        for matrix_GI in (self.entry_GI, self.extra_GI):
            if matrix_GI is not None:
                for group, item_C in enumerate(item_GC):
                    score_GC[group] += _entries(matrix_GI, group, item_C)
        return score_GC


def _entries(matrix_GI: csr_array, group: int, item_C: Int) -> Float32:
    """Entries of one row, 0 where it has none."""
    own = slice(matrix_GI.indptr[group], matrix_GI.indptr[group + 1])
    item_M, value_M = matrix_GI.indices[own], matrix_GI.data[own]
    if not len(item_M):
        return np.zeros(len(item_C), dtype=np.float32)
    place_C = np.minimum(np.searchsorted(item_M, item_C), len(item_M) - 1)
    return np.where(item_M[place_C] == item_C, value_M[place_C], np.float32(0))
