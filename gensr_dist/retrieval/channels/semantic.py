"""Channel: items whose texts are nearest to the query in the trained model's token embeddings (through FAISS).

Dimensions: G groups, C candidates, T title tokens, I items, V vocabulary, D width of the backbone.
"""

import numpy as np
from numpy.typing import NDArray

from gensr_dist.retrieval.channels.contract import Float32, Int
from gensr_dist.retrieval.channels.dense_scores import DenseScores, VectorIndex
from gensr_dist.retrieval.requests import Requests
from gensr_dist.retrieval.semantic import pool


class SemanticView:
    """Cosines of texts.

    Args:
        index: of the items' text vectors.
        weighted_VD: of `semantic.weighted_tokens`.
        title_IT: of the catalogue.
    """

    def __init__(self, index: VectorIndex, weighted_VD: NDArray[np.float32], title_IT: NDArray[np.int32]) -> None:
        self.index, self.weighted_VD = index, weighted_VD
        self.vectors = _Pooled(weighted_VD, title_IT)
        self.empty = None if len(index.item_J) else "no item text has a token that weighs anything"

    def scores(self, requests: Requests) -> DenseScores:
        """Nearest texts; none without a query."""
        if requests.token_GQ is None:
            query_GD = np.zeros((len(requests), self.weighted_VD.shape[1]), dtype=np.float32)
        else:
            query_GD = pool(requests.token_GQ, self.weighted_VD)
        return DenseScores(self.index, self.vectors, query_GD, requests.allowed_I)


class _Pooled:
    """Text vectors of items, pooled when they are asked for."""

    def __init__(self, weighted_VD: NDArray[np.float32], title_IT: NDArray[np.int32]) -> None:
        self.weighted_VD, self.title_IT = weighted_VD, title_IT

    def __getitem__(self, item_C: Int) -> Float32:
        return pool(np.asarray(self.title_IT[item_C]), self.weighted_VD)
