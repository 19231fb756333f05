"""Scores every item by how often it was chosen in training.

Dimensions: I items, R rows, C candidates.
"""

import numpy as np
from numpy.typing import NDArray

from gensr_dist.data.rows import EvalRows
from gensr_dist.data.splits import Split
from gensr_dist.data.timelines import Timelines


class Popularity:
    """Counts of positive training events of both behaviours, the same for every user.

    Args:
        timelines: the log.
        items: size of the catalogue.
    """

    def __init__(self, timelines: Timelines, items: int) -> None:
        counted = timelines.positive_N & (timelines.split_N == Split.TRAIN)
        self.count_I = np.bincount(timelines.item_N[counted], minlength=items).astype(np.float64)

    def score(self, rows: EvalRows) -> NDArray[np.floating]:
        """Scores [R, C]."""
        return self.count_I[rows.candidate_RC]
