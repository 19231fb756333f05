"""Match of typed words with the texts of items (BM25).

Dimensions: G groups, I items, W words, M entries.
"""

import numpy as np
from scipy.sparse import csr_array

from gensr_dist.baselines.untrained.item_words import holders
from gensr_dist.storage.sparse_lists import float32_rows, heaviest

LONGEST = 20_000  # items of one word's list
_K1, _B = 1.5, 0.75  # of BM25


def bm25_lists(count_IW: csr_array, longest: int = LONGEST) -> csr_array:
    """BM25 (Lucene's) of each word in each item's text, float32 [W, I].

    Of a word in very many items only those with the highest weights are listed.

    Args:
        count_IW: how often each item's text has each word.
        longest: items listed of a word.
    """
    items = count_IW.shape[0]
    length_I = np.asarray(count_IW.sum(axis=1)).ravel()
    mean = length_I.mean() if items and length_I.any() else 1.0
    row_M = np.repeat(np.arange(items), np.diff(count_IW.indptr))
    holders_W = holders(count_IW)
    idf_W = np.log1p((items - holders_W + 0.5) / (holders_W + 0.5))
    norm_M = _K1 * (1 - _B + _B * length_I[row_M] / mean)
    weight_M = idf_W[count_IW.indices] * count_IW.data / (count_IW.data + norm_M)
    weight_IW = csr_array((weight_M, count_IW.indices, count_IW.indptr), shape=count_IW.shape)
    return float32_rows(heaviest(csr_array(weight_IW.T), longest))


class Lexical:
    """BM25 of the query's words in items' texts.

    Args:
        bm25_WI: of `bm25_lists`.
    """

    weight = 10.0  # chosen on validation rows of Amazon Beauty, as that of the click graph

    def __init__(self, bm25_WI: csr_array) -> None:
        self.bm25_WI = bm25_WI

    @property
    def empty(self) -> str | None:
        """Why no query finds anything."""
        return None if self.bm25_WI.nnz else "no item text has words"

    def match(self, word_GW: csr_array) -> csr_array:
        """See `Matcher`."""
        match_GI = csr_array(word_GW @ self.bm25_WI)
        match_GI.sort_indices()
        return match_GI
