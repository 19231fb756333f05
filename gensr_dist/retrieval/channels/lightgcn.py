"""Channel: items nearest to the history in the CF view (LightGCN's vectors, through FAISS).

Dimensions: G groups, L newest history, E width of a CF vector, I items.
"""

import numpy as np
from numpy.typing import NDArray

from gensr_dist.data.history_evidence import DECAY
from gensr_dist.retrieval.channels.dense_scores import DenseScores, VectorIndex
from gensr_dist.retrieval.requests import Requests
from gensr_dist.retrieval.semantic import unit


class LightGCNView:
    """Inner products with the mean direction of the history's CF vectors, in which recent ones weigh more.

    LightGCN's own user vectors know training events only, and no user that came later.

    Args:
        index: of the items' CF vectors.
        item_IE: the same vectors.
    """

    def __init__(self, index: VectorIndex, item_IE: NDArray[np.float32]) -> None:
        self.index, self.item_IE = index, item_IE
        self.empty = None if len(index.item_J) else "no item has a CF vector"

    def scores(self, requests: Requests) -> DenseScores:
        """Nearest items; none for a group without a history."""
        weight_GL = np.where(requests.age_GL >= 0, DECAY ** np.maximum(requests.age_GL, 0), 0).astype(np.float32)
        history_GLE = np.asarray(self.item_IE[np.maximum(requests.item_GL, 0)])
        user_GE = unit(np.matmul(weight_GL[:, None], unit(history_GLE))[:, 0])
        return DenseScores(self.index, self.item_IE, user_GE, requests.allowed_I)
