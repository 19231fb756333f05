"""How well items fit a query, from their words and from the training searches that found them.

Dimensions: I items, Q queries, W words, R rows, C candidates.
"""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array
from typing_extensions import Self

from gensr_dist.baselines.untrained.item_words import holders, weighted_words
from gensr_dist.data.sparse_vectors import (
    Float,
    Int,
    candidate_dots,
    present,
    squared_lengths,
    unit_rows,
)


@dataclass(frozen=True, kw_only=True)
class QueryMatch:
    """Weighs a query's words by idf = log(1 + I / items that have the word); words that no item has count for nothing.

    An item has the words of its text and of the queries that training searches found it with.
    """

    query_QW: csr_array  # idf of each query's words
    has_IW: csr_array  # 0 and 1
    found_IW: csr_array  # length 1: sum over an item's searches of the unit vectors of their queries

    @classmethod
    def of(cls, text_IW: csr_array, word_QW: csr_array, found_IQ: csr_array) -> Self:
        """Count words.

        Args:
            text_IW: 0 and 1, words of each item's text.
            word_QW: 0 and 1, words of each query.
            found_IQ: positive training searches, by item and query.
        """
        has_IW = present(text_IW + present(found_IQ) @ word_QW)
        holders_W = holders(has_IW)
        idf_W = np.where(holders_W > 0, np.log1p(has_IW.shape[0] / np.maximum(holders_W, 1)), 0)
        query_QW = weighted_words(word_QW, idf_W)
        return cls(query_QW=query_QW, has_IW=has_IW, found_IW=unit_rows(found_IQ @ unit_rows(query_QW)))

    def score(self, query_R: Int, candidate_RC: Int) -> Float:
        """Share of the query's idf whose words the item has + cosine of the query with its searches, 0 to 2; [R, C].

        Args:
            query_R: rows of the queries, none -1.
            candidate_RC: items.
        """
        query_RW = self.query_QW[query_R]
        idf_R = np.asarray(query_RW.sum(axis=1)).ravel()
        length_R = np.sqrt(squared_lengths(query_RW))
        covered_RC = candidate_dots(query_RW, self.has_IW, candidate_RC)
        found_RC = candidate_dots(query_RW, self.found_IW, candidate_RC)
        return covered_RC / _or_one(idf_R)[:, None] + found_RC / _or_one(length_R)[:, None]


def _or_one(value_R: Float) -> Float:
    return np.where(value_R > 0, value_R, 1)
