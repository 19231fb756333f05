"""Channels of typed words: a match of query and item, the taste and popularity as order inside.

Dimensions: G groups, W words, I items, M entries.
"""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from gensr_dist.data.words import query_words
from gensr_dist.retrieval.channels.contract import Float32
from gensr_dist.retrieval.channels.neighbours import Neighbours
from gensr_dist.retrieval.channels.sparse_scores import SparseScores
from gensr_dist.retrieval.requests import Requests

TASTE = 20  # weight of the taste beside log(1 + popularity)


class Matcher(Protocol):
    """How well items fit words."""

    @property
    def weight(self) -> float:
        """Of the best match of a query, beside log(1 + popularity)."""

    @property
    def empty(self) -> str | None:
        """Why no query matches anything; None where one may."""

    def match(self, word_GW: csr_array) -> csr_array:
        """Positive entries [G, I], columns ascending; items that fit no word have none."""


class WordSearch:
    """Weight x match / the best match of the query + TASTE x taste + log(1 + popularity), over items that match.

    Args:
        matcher: matches.
        hash_W: hashes of the words that it knows, ascending.
        taste: gives the taste.
        log_popularity_I: of each item.
    """

    def __init__(
        self, matcher: Matcher, hash_W: NDArray[np.uint64], taste: Neighbours, log_popularity_I: Float32
    ) -> None:
        self.matcher, self.hash_W, self.taste, self.log_popularity_I = matcher, hash_W, taste, log_popularity_I

    @property
    def empty(self) -> str | None:
        """Why no query finds anything."""
        return self.matcher.empty

    def scores(self, requests: Requests) -> SparseScores:
        """Items that match the query are proposed; none without a query."""
        if requests.texts is None:
            match_GI = csr_array((len(requests), len(self.log_popularity_I)), dtype=np.float32)
        else:
            match_GI = scaled_to_best(self.matcher.match(query_words(requests.texts, self.hash_W)), self.matcher.weight)
        taste_GI = self.taste.taste(requests)
        taste_GI.data *= np.float32(TASTE)
        return SparseScores(match_GI, self.log_popularity_I, extra_GI=taste_GI, allowed_I=requests.allowed_I)


def scaled_to_best(match_GI: csr_array, most: float) -> csr_array:
    """Each row times the number that makes its highest entry `most`; float32, entries are positive."""
    best_G = match_GI.max(axis=1).toarray().ravel() if match_GI.nnz else np.zeros(match_GI.shape[0])
    scale_G = np.float32(most) / np.where(best_G > 0, best_G, 1).astype(np.float32)
    data_M = match_GI.data * np.repeat(scale_G, np.diff(match_GI.indptr))
    return csr_array((data_M.astype(np.float32), match_GI.indices, match_GI.indptr), shape=match_GI.shape)
