"""Channel: what most users chose in training.

Dimensions: G groups, K proposals, I items.
"""

import numpy as np
from numpy.typing import NDArray

from gensr_dist.retrieval.channels.contract import Proposals, Requests


class PopularItems:
    """Args:
    popularity_I: positive training events of each item.
    """

    def __init__(self, popularity_I: NDArray[np.integer]) -> None:
        self.popular_I = np.argsort(-popularity_I.astype(np.int64), kind="stable")
        self.score_I = popularity_I[self.popular_I].astype(np.float32)
        self.empty: str | None = None

    def propose(self, requests: Requests, k: int) -> Proposals:
        """The same items for every group, whether they were ever chosen or not."""
        shape = (len(requests), min(k, len(self.popular_I)))
        return Proposals(np.broadcast_to(self.popular_I[:k], shape), np.broadcast_to(self.score_I[:k], shape))
