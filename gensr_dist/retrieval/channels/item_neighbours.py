"""Neighbours of every item: by the users who met both within a few interactions, and by the words of their texts.

Dimensions: I items, V users, W words, M events, B items of a block.
"""

from collections.abc import Iterator

import numpy as np
from scipy.sparse import csr_array

from gensr_dist.baselines.untrained.item_words import MOST_SHARE, holders, tfidf_vectors, weighted_words
from gensr_dist.data.sparse_vectors import Int, present
from gensr_dist.storage.sparse_lists import heaviest, stacked

NEIGHBOURS = 100  # of an item
REACH = 20  # events of one user before and after
WORD_PAIRS = 5 * 10**9  # pairs of items that share a word, all words together: more frequent words are left out
_BLOCK_PAIRS = 1 << 24  # pairs in memory at a time
_BLOCK = 512  # items compared by text at a time


def covisitation(user_M: Int, item_M: Int, items: int, *, most: int = NEIGHBOURS, reach: int = REACH) -> csr_array:
    """Cosine of two items: users who met both within `reach` of each other / sqrt(product of the users of each).

    A user counts once a pair; of an item that a user met again only the first time counts.

    Args:
        user_M: users of the training events, ascending.
        item_M: their items, in order of time.
        items: I.
        most: neighbours kept of an item.
        reach: events.

    Returns:
        [I, I], float32; an item is no neighbour of its own.
    """
    _, first_M = np.unique(user_M * items + item_M, return_index=True)
    first_M.sort()
    user_M, item_M = user_M[first_M], item_M[first_M]
    users_I = np.bincount(item_M, minlength=items)
    scale_I = 1 / np.sqrt(np.maximum(users_I, 1))
    event_M = np.argsort(item_M, kind="stable")  # the events of one item side by side
    end_I = np.cumsum(users_I)

    def blocks() -> Iterator[csr_array]:
        first = 0
        while first < items:
            start = int(end_I[first - 1]) if first else 0
            end = max(first + 1, int(np.searchsorted(end_I, start + _BLOCK_PAIRS // (2 * reach), side="right")))
            place_M = event_M[start : end_I[end - 1]]
            block_BI = csr_array((end - first, items))
            for offset in [*range(-reach, 0), *range(1, reach + 1)]:
                other_M = place_M + offset
                inside_M = (other_M >= 0) & (other_M < len(user_M))
                own_M, other_M = place_M[inside_M], other_M[inside_M]
                same_M = user_M[own_M] == user_M[other_M]
                row_M, column_M = item_M[own_M[same_M]] - first, item_M[other_M[same_M]]
                block_BI = block_BI + csr_array((np.ones(len(row_M)), (row_M, column_M)), shape=block_BI.shape)
            row_M = np.repeat(np.arange(first, end), np.diff(block_BI.indptr))
            block_BI.data *= scale_I[row_M] * scale_I[block_BI.indices]
            yield heaviest(block_BI, most)
            first = end

    return stacked(blocks(), items)


def text_neighbours(text_IW: csr_array, *, most: int = NEIGHBOURS, word_pairs: int = WORD_PAIRS) -> csr_array:
    """Cosine of the TF-IDF vectors of two items' texts.

    Args:
        text_IW: 0 and 1, words of each item's text.
        most: neighbours kept of an item.
        word_pairs: bound of the work; the rarest words are kept.

    Returns:
        [I, I], float32; an item is no neighbour of its own.
    """
    items = text_IW.shape[0]
    vector_IW = tfidf_vectors(_without_frequent(text_IW, word_pairs), MOST_SHARE)
    vector_WI = csr_array(vector_IW.T)

    def blocks() -> Iterator[csr_array]:
        for first in range(0, items, _BLOCK):
            close_BI = csr_array(vector_IW[first : first + _BLOCK] @ vector_WI)
            row_M = np.repeat(np.arange(first, first + close_BI.shape[0]), np.diff(close_BI.indptr))
            close_BI.data[row_M == close_BI.indices] = 0
            close_BI.eliminate_zeros()
            yield heaviest(close_BI, most)

    return stacked(blocks(), items)


def _without_frequent(text_IW: csr_array, word_pairs: int) -> csr_array:
    """Leave out the most frequent words, so that the rest relate at most `word_pairs` pairs of items."""
    holders_W = holders(text_IW).astype(np.float64)
    # Words of one item, and of too many, relate no items later: they take no share of the pairs.
    relates_W = (holders_W >= 2) & (holders_W <= max(2, MOST_SHARE * text_IW.shape[0]))
    pairs_W = np.where(relates_W, holders_W**2, 0)
    order_W = np.argsort(pairs_W, kind="stable")
    kept_W = np.zeros(len(pairs_W), dtype=bool)
    kept_W[order_W] = np.cumsum(pairs_W[order_W]) <= word_pairs
    if kept_W.all():
        return text_IW
    return present(weighted_words(text_IW, kept_W.astype(np.float64)))
