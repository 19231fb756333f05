"""Channel: the match towers that training aligns (`model/match.py`): encoded history and query against every item.

Dimensions: G groups, H width of the towers, I items.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from gensr_dist.retrieval.channels.contract import Float32
from gensr_dist.retrieval.channels.dense_scores import DenseScores, VectorIndex
from gensr_dist.retrieval.requests import Requests


class MatchTower:
    """Inner products of both towers' vectors.

    Args:
        index: of the item tower's vectors.
        item_IH: the same vectors.
        users: gives the user tower's vectors [G, H].
    """

    def __init__(self, index: VectorIndex, item_IH: NDArray[np.float32], users: Callable[[Requests], Float32]) -> None:
        self.index, self.item_IH, self.users = index, item_IH, users
        self.empty = None if len(index.item_J) else "the model has no match towers"

    def scores(self, requests: Requests) -> DenseScores:
        """Nearest items, for a history, a query or both."""
        if self.empty:
            return DenseScores(
                self.index, self.item_IH, np.zeros((len(requests), self.item_IH.shape[1]), np.float32), None
            )
        return DenseScores(self.index, self.item_IH, self.users(requests), requests.allowed_I)
