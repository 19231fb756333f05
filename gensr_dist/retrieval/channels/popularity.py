"""Channel: what most users chose in training.

Dimensions: G groups, K proposals, C candidates, I items.
"""

import numpy as np
from numpy.typing import NDArray

from gensr_dist.retrieval.channels.contract import Float32, Int, Proposals
from gensr_dist.retrieval.requests import Requests


class PopularItems:
    """log(1 + positive training events), the same for every group.

    Args:
        popularity_I: positive training events of each item.
    """

    def __init__(self, popularity_I: NDArray[np.integer]) -> None:
        self.popular_I: Int = np.argsort(-popularity_I.astype(np.int64), kind="stable")
        self.score_I = np.log1p(popularity_I.astype(np.float32))
        self.empty: str | None = None

    def scores(self, requests: Requests) -> "PopularityScores":
        """Every allowed item is proposed, whether it was ever chosen or not."""
        popular_K = self.popular_I
        if requests.allowed_I is not None:
            popular_K = popular_K[requests.allowed_I[popular_K]]
        return PopularityScores(popular_K, self.score_I, len(requests))


class PopularityScores:
    """See `Scores`.

    Args:
        popular_K: allowed items, most popular first.
        score_I: of every item.
        groups: G.
    """

    def __init__(self, popular_K: Int, score_I: Float32, groups: int) -> None:
        self.popular_K, self.score_I, self.groups = popular_K, score_I, groups

    def best(self, k: int) -> Proposals:
        """See `Scores`."""
        item_K = self.popular_K[:k]
        shape = (self.groups, len(item_K))
        return Proposals(np.broadcast_to(item_K, shape), np.broadcast_to(self.score_I[item_K], shape))

    def of(self, item_GC: Int) -> Float32:
        """See `Scores`."""
        return self.score_I[np.maximum(item_GC, 0)]
