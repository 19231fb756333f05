"""Neighbours of items by their users (Sarwar et al. 2001), with the shrunk cosine of Ferrari Dacrema et al. (2019).

Dimensions: I items, V users, R rows, L history, C candidates.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from typing_extensions import Self

from gensr_dist.baselines.untrained.counting import HISTORY, TrainingCounts
from gensr_dist.data.shards.store import TimelineStore
from gensr_dist.data.sparse_vectors import Float, Int, squared_lengths
from gensr_dist.data.timelines.rows import EvalRows

SHRINKAGE = 10.0  # chosen: closeness that rests on few users counts for less


class ItemKNN:
    """The sum over the newest HISTORY interactions j of |users of i and j| / (sqrt(|of i| |of j|) + shrinkage).

    All items are neighbours. An item's closeness to itself counts for nothing: sampled negatives never stand in the
    history, so that it would tell the positives that do.

    Args:
        user_IV: 1 where the user chose the item in training.
        store: gives histories.
        shrinkage: 0 is the plain cosine.
    """

    def __init__(self, user_IV: csr_array, store: TimelineStore, shrinkage: float = SHRINKAGE) -> None:
        self.user_IV, self.store, self.shrinkage = user_IV, store, shrinkage
        self.length_I = np.sqrt(squared_lengths(user_IV))

    @classmethod
    def of_log(cls, store: TimelineStore, shrinkage: float = SHRINKAGE) -> Self:
        """Count the recommendations among a log's training events."""
        return cls(TrainingCounts.of(store, store.manifest.queries).user_IV, store, shrinkage)

    def score(self, rows: EvalRows) -> NDArray[np.floating]:
        """Scores [R, C]."""
        item_RL, _ = self.store.gather_histories(rows.user_R, rows.history_end_R, HISTORY)
        score_RC = np.zeros(rows.candidate_RC.shape)
        for row, candidate_C in enumerate(rows.candidate_RC):
            history_L = item_RL[row][item_RL[row] >= 0]
            if len(history_L):
                score_RC[row] = self.closeness(candidate_C, history_L).sum(axis=1)
        return score_RC

    def closeness(self, candidate_C: Int, history_L: Int) -> Float:
        """Of each candidate to each item of a history, [C, L]."""
        both_CL = (self.user_IV[candidate_C] @ self.user_IV[history_L].T).toarray()
        norm_CL = self.length_I[candidate_C][:, None] * self.length_I[history_L] + self.shrinkage
        close_CL: Float = both_CL / np.where(norm_CL > 0, norm_CL, 1)
        close_CL[candidate_C[:, None] == history_L] = 0
        return close_CL
