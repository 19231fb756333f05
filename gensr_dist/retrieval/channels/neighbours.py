"""Channel: neighbours of the newest history, by co-visitation, by text, or by both; also the taste of a search.

Dimensions: G groups, L newest history, I items.
"""

import numpy as np
from scipy.sparse import csr_array

from gensr_dist.data.history_evidence import DECAY
from gensr_dist.retrieval.channels.contract import Float32
from gensr_dist.retrieval.channels.sparse_scores import SparseScores
from gensr_dist.retrieval.requests import Requests
from gensr_dist.storage.sparse_lists import float32_rows

COVISITATION, TEXT = 0.7, 0.3  # weights of the two closenesses in their mix
POPULARITY = 0.025  # of log(1 + popularity) beside closeness


class Neighbours:
    """Sum over the newest interactions of decay^age x weighted closeness, + POPULARITY x log(1 + popularity).

    Args:
        parts: (weight, closeness [I, I] as lists of neighbours); one or more.
        log_popularity_I: of each item.
        empty: what to say where no item has a neighbour.
        decay: of weights by age.
    """

    def __init__(
        self, parts: list[tuple[float, csr_array]], log_popularity_I: Float32, *, empty: str, decay: float = DECAY
    ) -> None:
        self.parts, self.decay, self._empty = parts, decay, empty
        self.prior_I = np.float32(POPULARITY) * log_popularity_I

    @property
    def empty(self) -> str | None:
        """Why no item has neighbours."""
        return None if any(close_II.nnz for _, close_II in self.parts) else self._empty

    def taste(self, requests: Requests) -> csr_array:
        """Closeness of items to the history without popularity, float32 [G, I]; items close to nothing have none."""
        groups, items = len(requests), self.parts[0][1].shape[1]
        real_GL = requests.item_GL >= 0
        start_G = np.concatenate([[0], np.cumsum(real_GL.sum(axis=1))]).astype(np.int32)
        weight_M = self.decay ** requests.age_GL[real_GL].astype(np.float32)
        weight_GI = csr_array(
            (weight_M.astype(np.float32), requests.item_GL[real_GL].astype(np.int32), start_G), shape=(groups, items)
        )
        taste_GI = csr_array((groups, items), dtype=np.float32)
        for weight, close_II in self.parts:
            part_GI = weight_GI @ close_II
            part_GI.data *= np.float32(weight)
            part_GI.sort_indices()  # the sum of two does not depend on how each was made
            taste_GI = taste_GI + part_GI
        return float32_rows(taste_GI)

    def scores(self, requests: Requests) -> SparseScores:
        """Neighbours of the history are proposed; none for a group without a history."""
        return SparseScores(self.taste(requests), self.prior_I, allowed_I=requests.allowed_I)
