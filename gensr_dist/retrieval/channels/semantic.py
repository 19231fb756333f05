"""Channel: items whose texts are nearest to the query in the trained model's token embeddings (through FAISS).

Dimensions: G groups, K proposals, Q query tokens.
"""

from collections.abc import Callable

import numpy as np

from gensr_dist.retrieval.channels.contract import Int, Proposals, Requests
from gensr_dist.retrieval.channels.lightgcn import scored


class SemanticView:
    """Args:
    nearest: of `CatalogueIndex.nearest_text`: items [G, K] of the highest cosines, -1 pads.
    items: with a vector.
    """

    def __init__(self, nearest: Callable[[Int, int], Int], items: int) -> None:
        self.nearest = nearest
        self.empty = None if items else "no item text has a token that weighs anything"

    def propose(self, requests: Requests, k: int) -> Proposals:
        """Nearest texts; none without a query."""
        if requests.token_GQ is None:
            return scored(np.full((len(requests), k), -1, dtype=np.int64))
        return scored(self.nearest(requests.token_GQ, k))
