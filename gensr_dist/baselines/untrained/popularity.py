"""Scores every item by how often it was chosen in training.

Dimensions: I items, R rows, C candidates.
"""

import numpy as np
from numpy.typing import NDArray

from gensr_dist.data.timelines.rows import EvalRows


class Popularity:
    """Counts of positive training events of both behaviours, the same for every user.

    Args:
        popularity_I: these counts, as `ItemStore.popularity_I` has them.
    """

    def __init__(self, popularity_I: NDArray[np.integer]) -> None:
        self.count_I = popularity_I.astype(np.float64)

    def score(self, rows: EvalRows) -> NDArray[np.floating]:
        """Scores [R, C]."""
        return self.count_I[rows.candidate_RC]
