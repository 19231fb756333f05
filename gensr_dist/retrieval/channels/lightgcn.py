"""Channel: items nearest to the user in the CF view (LightGCN's vectors, through FAISS).

Dimensions: G groups, L newest history, K proposals, E width of a CF vector, I items.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from gensr_dist.retrieval.channels.contract import Float32, Int, Proposals, Requests
from gensr_dist.retrieval.semantic import unit

NEWEST = 3  # interactions that stand for what the user wants now; the CF vector knows training events only


class LightGCNView:
    """The user is the CF vector and the newest items in equal parts, or one of them where the other is missing.

    Args:
        nearest: of `CatalogueIndex.nearest_cf`: items [G, K] of the highest inner products, -1 pads.
        item_IE: CF vectors of items.
        user_VE: CF vectors of users; zero for a user without training event.
        items: with a vector.
    """

    def __init__(
        self,
        nearest: Callable[[Float32, int], Int],
        item_IE: NDArray[np.float32],
        user_VE: NDArray[np.float32],
        items: int,
    ) -> None:
        self.nearest, self.item_IE, self.user_VE = nearest, item_IE, user_VE
        self.empty = None if items else "no item has a CF vector"

    def propose(self, requests: Requests, k: int) -> Proposals:
        """Nearest items; none for a user with neither a CF vector nor a history."""
        new_GL = (requests.age_GL >= 0) & (requests.age_GL < NEWEST)
        group_M, place_M = np.nonzero(new_GL)
        newest_GE = np.zeros((len(requests), self.item_IE.shape[1]), dtype=np.float32)
        np.add.at(newest_GE, group_M, self.item_IE[requests.item_GL[group_M, place_M]])
        user_GE = unit(np.asarray(self.user_VE[requests.user_G])) + unit(newest_GE)
        return scored(self.nearest(user_GE, k))


def scored(item_GK: Int) -> Proposals:
    """Proposals of which only the order is known; it stands for the scores."""
    score_K = -np.arange(item_GK.shape[1], dtype=np.float32)
    return Proposals(item_GK, np.where(item_GK >= 0, score_K, -np.inf).astype(np.float32))
