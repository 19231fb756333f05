"""Words of texts as sparse matrices, and TF-IDF vectors of items.

Dimensions: N texts, I items, W words, M (text, word) pairs.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from gensr_dist.data.sparse_vectors import Float, counted, present, unit_rows
from gensr_dist.data.words import TextWords

MOST_SHARE = 1 / 30  # words of more items than this share say little about any of them


def word_matrices(*sources: TextWords) -> list[csr_array]:
    """Which text has which word: 0 and 1, one matrix [N, W] a source; W are the words of all sources together."""
    return [present(count_NW) for count_NW in word_counts(*sources)[1]]


def word_counts(*sources: TextWords) -> tuple[NDArray[np.uint64], list[csr_array]]:
    """Hashes of the words of all sources together, ascending [W], and how often each text has each, [N, W] a source."""
    hash_W, word_M = np.unique(np.concatenate([source.hash_M for source in sources]), return_inverse=True)
    matrices, first = [], 0
    for source in sources:
        end = first + len(source.text_M)
        matrices.append(counted(source.text_M, word_M[first:end], (source.texts, len(hash_W))))
        matrices[-1].sum_duplicates()
        first = end
    return hash_W, matrices


def holders(word_NW: csr_array) -> NDArray[np.int64]:
    """Texts that hold each word, [W]."""
    return np.bincount(word_NW.indices, minlength=word_NW.shape[1])


def tfidf_vectors(word_IW: csr_array, most_share: float = MOST_SHARE) -> csr_array:
    """Vectors of length 1 [I, W]: log(I / holders) of the words that relate items to each other.

    Those are words of at least two items and of at most a share of all items (but two are never too many).

    Args:
        word_IW: 0 and 1, which item's text has which word.
        most_share: the share.
    """
    items = word_IW.shape[0]
    holders_W = holders(word_IW)
    kept_W = (holders_W >= 2) & (holders_W <= max(2, most_share * items))
    weight_W = np.where(kept_W, np.log(items / np.maximum(holders_W, 1)), 0)
    return unit_rows(weighted_words(word_IW, weight_W))


def weighted_words(word_NW: csr_array, weight_W: Sequence[float] | Float) -> csr_array:
    """Columns times their weights; words of weight 0 have no entries."""
    weighted_NW = csr_array(
        (np.asarray(weight_W)[word_NW.indices], word_NW.indices.copy(), word_NW.indptr.copy()), shape=word_NW.shape
    )
    weighted_NW.eliminate_zeros()
    return weighted_NW
