"""Scores items by the dot product of LightGCN's user and item vectors.

Dimensions: V users, I items, E width, R rows, C candidates.
"""

import numpy as np
from numpy.typing import NDArray

from gensr_dist.data.timelines.rows import EvalRows


class LightGCNDotProduct:
    """Collaborative filtering alone: no history order, no text, no query.

    Args:
        item_IE: CF vectors of items.
        user_VE: CF vectors of users.
    """

    def __init__(self, item_IE: NDArray[np.float32], user_VE: NDArray[np.float32]) -> None:
        self.item_IE = item_IE
        self.user_VE = user_VE

    def score(self, rows: EvalRows) -> NDArray[np.floating]:
        """Scores [R, C]."""
        user_RE = self.user_VE[rows.user_R]
        # einsum's plain loop sums in one order whatever R is, so equal vectors tie exactly and batches do not matter.
        return np.einsum("re,rce->rc", user_RE, self.item_IE[rows.candidate_RC])
