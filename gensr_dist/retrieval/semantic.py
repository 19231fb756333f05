"""Semantic vectors of texts: IDF-weighted mean of the trained model's token embeddings, of unit length.

Dimensions: I items, T title tokens, R texts, Q their tokens, V vocabulary, D width of the backbone, X any vectors.
"""

import numpy as np
from numpy.typing import NDArray

from gensr_dist.data.items import token_idf

_TOKENS_AT_ONCE = 1 << 16


def weighted_tokens(token_VD: NDArray[np.float32], title_IT: NDArray[np.int32]) -> NDArray[np.float32]:
    """Unit token embeddings times their inverse document frequency in the titles, [V, D].

    The embeddings' own lengths grow with a token's frequency in training, against what a search needs, so they are
    dropped.
    """
    return unit(token_VD) * token_idf(title_IT, len(token_VD))[:, None]


def pool(text_RQ: NDArray[np.integer], weighted_VD: NDArray[np.float32]) -> NDArray[np.float32]:
    """Unit vectors of tokenised texts, [R, D]; zero for a text without a token that weighs anything."""
    pooled_RD = np.empty((len(text_RQ), weighted_VD.shape[1]), dtype=np.float32)
    step = max(1, _TOKENS_AT_ONCE // max(1, text_RQ.shape[1]))
    for start in range(0, len(text_RQ), step):
        pooled_RD[start : start + step] = weighted_VD[text_RQ[start : start + step]].sum(axis=1)
    return unit(pooled_RD)


def unit(vector_XD: NDArray[np.float32]) -> NDArray[np.float32]:
    """Vectors, of any leading shape, scaled to length one; zeros stay zeros."""
    length_X1 = np.linalg.norm(vector_XD, axis=-1, keepdims=True)
    return np.divide(vector_XD, length_X1, out=np.zeros_like(vector_XD), where=length_X1 > 0)
