"""EASE, a linear autoencoder without hidden units (Steck 2019, arXiv 1905.03375): solved, not trained.

Dimensions: I items, V users, R rows, L history, C candidates.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack
from scipy.sparse import csr_array
from typing_extensions import Self

from gensr_dist.baselines.untrained.counting import TrainingCounts
from gensr_dist.data.shards.store import TimelineStore
from gensr_dist.data.timelines.rows import EvalRows
from gensr_dist.errors import InputError

MOST_ITEMS = 20_000  # a table of their pairs takes 3.2 GB
REGULARISATION = 250.0  # chosen: among what the paper found best on its smaller data
_HISTORY = 1_000  # newest interactions


class EASE:
    """B = argmin |X - X B|^2 + r |B|^2 with a zero diagonal: with P = (X^T X + r)^-1, B_ij = -P_ij / P_jj.

    A candidate scores the sum of its column over the different items that its row's user had chosen before. By the
    zero diagonal its own occurrence among them counts for nothing.

    Args:
        user_IV: X^T: 1 where the user chose the item in training.
        store: gives histories.
        regularisation: r.

    Raises:
        InputError: the catalogue is too large.
    """

    def __init__(self, user_IV: csr_array, store: TimelineStore, regularisation: float = REGULARISATION) -> None:
        items = user_IV.shape[0]
        if items > MOST_ITEMS:
            raise InputError(
                "EASE",
                f"weights of all pairs of {items:,} items would take {8 * items**2:,} bytes",
                f"take a catalogue of at most {MOST_ITEMS:,} items, or nearest neighbours of items",
            )
        self.store = store
        self.weight_II = _solved((user_IV @ user_IV.T).toarray(), regularisation)

    @classmethod
    def of_log(cls, store: TimelineStore, regularisation: float = REGULARISATION) -> Self:
        """Solve for the recommendations among a log's training events."""
        return cls(TrainingCounts.of(store, store.manifest.queries).user_IV, store, regularisation)

    def score(self, rows: EvalRows) -> NDArray[np.floating]:
        """Scores [R, C]; 0 without a history."""
        item_RL, _ = self.store.gather_histories(rows.user_R, rows.history_end_R, _HISTORY)
        score_RC = np.zeros(rows.candidate_RC.shape)
        for row, candidate_C in enumerate(rows.candidate_RC):
            chosen_L = np.unique(item_RL[row][item_RL[row] >= 0])
            score_RC[row] = self.weight_II[np.ix_(chosen_L, candidate_C)].sum(axis=0)
        return score_RC


def _solved(gram_II: NDArray[np.float64], regularisation: float) -> NDArray[np.float64]:
    """B from X^T X, whose memory it takes."""
    gram_II[np.diag_indices_from(gram_II)] += regularisation
    # LAPACK reads columns first: the transpose of a symmetric matrix is itself, and needs no copy.
    factor_II, failed = lapack.dpotrf(gram_II.T, lower=1, overwrite_a=1)
    assert not failed, "X^T X + r is positive definite"
    inverse_II, _ = lapack.dpotri(factor_II, lower=1, overwrite_c=1)
    weight_II: NDArray[np.float64] = inverse_II.T  # its upper triangle is that of P; the other holds what was there
    for row in range(1, len(weight_II)):
        weight_II[row, :row] = weight_II[:row, row]
    weight_II /= -weight_II.diagonal().copy()
    np.fill_diagonal(weight_II, 0)
    return weight_II
