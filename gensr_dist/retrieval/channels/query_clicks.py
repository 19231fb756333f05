"""Channel: what training searches found with this query, its words and queries like it, taste and popularity inside.

Dimensions: G groups, K proposals, I items, W words, Q queries of the log, N near queries.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.sparse import csr_array
from typing_extensions import Self

from gensr_dist.baselines.item_words import holders, weighted_words
from gensr_dist.baselines.sparse_vectors import present, unit_rows
from gensr_dist.retrieval.channels.contract import Float32, Proposals, Ranking, Requests
from gensr_dist.retrieval.channels.lexical import LONGEST, scaled_to_best, weighted_taste
from gensr_dist.retrieval.channels.neighbours import Neighbours
from gensr_dist.retrieval.channels.sparse_lists import (
    float32_rows,
    heaviest,
    list_files,
    map_array,
    open_lists,
    save_lists,
)

MATCH = 20  # of items found by the query's words and like queries, beside taste and log(1 + popularity)
NEAR = 20  # queries that are like one
SHARPNESS = 3  # power of their likeness
CLICKS = 0.5  # of the share of a like query's finds, beside the cosine of words
FINDS = 1_000  # items listed of a query


@dataclass(frozen=True, kw_only=True)
class ClickGraph:
    """What queries and their words found."""

    idf_W: Float32  # of words among queries that found something; 0 for words of none
    found_WI: csr_array  # of unit vectors: words of the queries that found each item
    query_WQ: csr_array  # unit vectors of the queries' words
    found_QI: csr_array  # share of the query's searches that ended at the item

    @classmethod
    def of(cls, word_QW: csr_array, found_IQ: csr_array) -> Self:
        """Count.

        Args:
            word_QW: 0 and 1, words of each query.
            found_IQ: positive training searches, by item and query.
        """
        asked_Q = np.asarray(present(found_IQ).sum(axis=0)).ravel() > 0
        asked_QW = csr_array(
            (asked_Q.repeat(np.diff(word_QW.indptr)).astype(np.float64), word_QW.indices.copy(), word_QW.indptr.copy()),
            shape=word_QW.shape,
        )
        asked_QW.eliminate_zeros()
        holders_W = holders(asked_QW)
        idf_W = np.where(holders_W > 0, np.log1p(np.count_nonzero(asked_Q) / np.maximum(holders_W, 1)), 0)
        query_QW = unit_rows(weighted_words(asked_QW, idf_W))
        found_QI = csr_array(found_IQ.T)
        total_Q = np.asarray(found_QI.sum(axis=1)).ravel()
        found_QI.data = found_QI.data / np.repeat(total_Q, np.diff(found_QI.indptr))
        return cls(
            idf_W=idf_W.astype(np.float32),
            found_WI=float32_rows(heaviest(csr_array(unit_rows(csr_array(found_IQ @ query_QW)).T), LONGEST)),
            query_WQ=float32_rows(heaviest(csr_array(query_QW.T), LONGEST)),
            found_QI=float32_rows(heaviest(found_QI, FINDS)),
        )

    def save(self, folder: Path) -> None:
        """Write all arrays into an existing folder."""
        np.save(folder / "clicks_idf.npy", self.idf_W, allow_pickle=False)
        save_lists(folder, "clicks_of_words", self.found_WI)
        save_lists(folder, "queries_of_words", self.query_WQ)
        save_lists(folder, "clicks_of_queries", self.found_QI)

    @classmethod
    def open(cls, folder: Path, items: int) -> Self:
        """Map what `save` wrote."""
        found_QI = open_lists(folder, "clicks_of_queries", items)
        return cls(
            idf_W=map_array(folder / "clicks_idf.npy"),
            found_WI=open_lists(folder, "clicks_of_words", items),
            query_WQ=open_lists(folder, "queries_of_words", found_QI.shape[0]),
            found_QI=found_QI,
        )


FILES = (
    "clicks_idf.npy",
    *list_files("clicks_of_words"),
    *list_files("queries_of_words"),
    *list_files("clicks_of_queries"),
)


class QueryClicks:
    """Orders the items that a word of the query ever found.

    The match of an item is the cosine of the query's words with those of the searches that found it, plus CLICKS x the
    share of searches that it ended, averaged over the NEAR most similar queries (this one among them) by their cosine
    to the power of SHARPNESS. The score is MATCH x match / the best match + taste + log(1 + popularity).

    Args:
        graph: of the training searches.
        taste: gives the taste.
        log_popularity_I: of each item.
    """

    def __init__(self, graph: ClickGraph, taste: Neighbours, log_popularity_I: Float32) -> None:
        self.graph, self.taste = graph, taste
        self._ranking = Ranking(log_popularity_I, len(log_popularity_I))

    @property
    def empty(self) -> str | None:
        """Why no query finds anything."""
        return None if self.graph.found_WI.nnz else "no training search has a query with words"

    def match(self, word_GW: csr_array) -> csr_array:
        """How well items fit the queries, float32 [G, I]; items that no word of the query found have no entry."""
        query_GW = float32_rows(unit_rows(weighted_words(word_GW, self.graph.idf_W.astype(np.float64))))
        near_GQ = heaviest(csr_array(query_GW @ self.graph.query_WQ), NEAR)
        near_GQ.data **= SHARPNESS
        total_G = np.maximum(np.asarray(near_GQ.sum(axis=1)).ravel(), 1e-9)
        near_GQ.data *= (CLICKS / np.repeat(total_G, np.diff(near_GQ.indptr))).astype(np.float32)
        words_GI = csr_array(query_GW @ self.graph.found_WI)
        clicks_GI = csr_array(float32_rows(near_GQ) @ self.graph.found_QI)
        words_GI.sort_indices()
        clicks_GI.sort_indices()
        return float32_rows(words_GI + clicks_GI)

    def propose(self, requests: Requests, k: int) -> Proposals:
        """Found items; none without a query."""
        if requests.word_GW is None:
            return self._ranking.best(csr_array((len(requests), self.graph.found_WI.shape[1]), dtype=np.float32), k)
        match_GI = scaled_to_best(self.match(requests.word_GW), MATCH)
        return self._ranking.best(match_GI, k, extra_GI=weighted_taste(self.taste, requests))
