"""Channel: items whose texts have the query's words (BM25), the taste and popularity as order inside.

Dimensions: G groups, K proposals, I items, W words, M entries.
"""

import numpy as np
from scipy.sparse import csr_array

from gensr_dist.baselines.item_words import holders
from gensr_dist.baselines.sparse_vectors import Float
from gensr_dist.retrieval.channels.contract import Float32, Proposals, Ranking, Requests
from gensr_dist.retrieval.channels.neighbours import Neighbours
from gensr_dist.retrieval.channels.sparse_lists import float32_rows, heaviest

MATCH, TASTE = 10, 20  # weights of the match (0 to 1) and of the taste beside log(1 + popularity)
# Chosen on validation rows of Amazon Beauty, as those of `query_clicks`.
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
    idf_W = _idf(count_IW)
    norm_M = _K1 * (1 - _B + _B * length_I[row_M] / mean)
    weight_M = idf_W[count_IW.indices] * count_IW.data / (count_IW.data + norm_M)
    weight_IW = csr_array((weight_M, count_IW.indices, count_IW.indptr), shape=count_IW.shape)
    return float32_rows(heaviest(csr_array(weight_IW.T), longest))


def _idf(count_IW: csr_array) -> Float:
    holders_W = holders(count_IW)
    return np.log1p((count_IW.shape[0] - holders_W + 0.5) / (holders_W + 0.5))


class Lexical:
    """MATCH x BM25 / the best BM25 of the query + TASTE x taste + log(1 + popularity), over items that have a word.

    Args:
        bm25_WI: of `bm25_lists`.
        taste: gives the taste.
        log_popularity_I: of each item.
    """

    def __init__(self, bm25_WI: csr_array, taste: Neighbours, log_popularity_I: Float32) -> None:
        self.bm25_WI, self.taste = bm25_WI, taste
        self._ranking = Ranking(log_popularity_I, len(log_popularity_I))

    @property
    def empty(self) -> str | None:
        """Why no query finds anything."""
        return None if self.bm25_WI.nnz else "no item text has words"

    def propose(self, requests: Requests, k: int) -> Proposals:
        """Items with a word of the query; none without a query."""
        words_GW = requests.word_GW
        if words_GW is None:
            return self._ranking.best(csr_array((len(requests), self.bm25_WI.shape[1]), dtype=np.float32), k)
        match_GI = words_GW @ self.bm25_WI
        return self._ranking.best(scaled_to_best(match_GI, MATCH), k, extra_GI=weighted_taste(self.taste, requests))


def scaled_to_best(match_GI: csr_array, most: float) -> csr_array:
    """Each row times the number that makes its highest entry `most`; float32, entries are positive."""
    best_G = match_GI.max(axis=1).toarray().ravel() if match_GI.nnz else np.zeros(match_GI.shape[0])
    scale_G = np.float32(most) / np.where(best_G > 0, best_G, 1).astype(np.float32)
    data_M = match_GI.data * np.repeat(scale_G, np.diff(match_GI.indptr))
    return csr_array((data_M.astype(np.float32), match_GI.indices, match_GI.indptr), shape=match_GI.shape)


def weighted_taste(taste: Neighbours, requests: Requests) -> csr_array:
    """TASTE x taste, float32 [G, I]."""
    taste_GI = taste.taste(requests)
    taste_GI.data *= np.float32(TASTE)
    return taste_GI
