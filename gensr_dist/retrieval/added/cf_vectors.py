"""CF vectors of items without events: what the items with the nearest texts have.

Dimensions: I items of the log, A added ones, T title tokens, V vocabulary, D width of the backbone, K neighbours, E
width of a CF vector, C items of a block.
"""

import numpy as np
from numpy.typing import NDArray

from gensr_dist.data.item_vectors import row_blocks
from gensr_dist.retrieval.channels.dense_scores import VectorIndex
from gensr_dist.retrieval.semantic import pool, unit

Float32 = NDArray[np.float32]

# Chosen on 1,200 items of Amazon Beauty that were held out: the mean cosine of this vector with the one that LightGCN
# had learnt is .509 (5 neighbours .485, 50 .508; power 1 .502, 8 .501). By TF-IDF in place of the trained model's token
# embeddings it is .497, and on the simulated quickstart log .444 in place of .790.
NEAREST = 20  # items of the log whose texts are nearest
SHARPNESS = 2  # power of their cosine
_ITEMS = 4_096  # at a time


def vectors_by_text(
    title_AT: NDArray[np.integer], index: VectorIndex, weighted_VD: Float32, item_IE: Float32
) -> Float32:
    """Mean of the directions of the NEAREST texts' vectors, by cosine to the power of SHARPNESS; float32 [A, E].

    All have the median length of the log's vectors: the length of a vector is half its item's popularity, and a new
    item is neither a hit nor a failure yet. An item whose text has no token that weighs anything, or none but
    neighbours without a vector, has a zero vector, as an item of the log without edges has.

    Args:
        title_AT: tokens of the added items.
        index: of the texts of the log's items.
        weighted_VD: of `semantic.weighted_tokens`.
        item_IE: vectors of the log's items; only those of neighbours are read, and the lengths of all.
    """
    item_AE = np.zeros((len(title_AT), item_IE.shape[1]), dtype=np.float32)
    for start in range(0, len(title_AT), _ITEMS):
        part = slice(start, start + _ITEMS)
        near = index.search(pool(title_AT[part], weighted_VD), NEAREST)
        close_CK = np.where(near.item_GK >= 0, np.maximum(near.score_GK, 0), 0) ** SHARPNESS
        near_CKE = unit(np.asarray(item_IE[np.maximum(near.item_GK, 0)], dtype=np.float32))
        item_AE[part] = unit(np.matmul(close_CK[:, None].astype(np.float32), near_CKE)[:, 0])
    return item_AE * np.float32(typical_length(item_IE))


def typical_length(item_IE: Float32) -> float:
    """Median length of the vectors that are not zero; 0 where all are."""
    lengths = [np.linalg.norm(rows_CE, axis=1) for rows_CE in row_blocks(item_IE)]
    length_I = np.concatenate([np.empty(0, dtype=np.float32), *lengths])
    return float(np.median(length_I[length_I > 0])) if (length_I > 0).any() else 0.0
