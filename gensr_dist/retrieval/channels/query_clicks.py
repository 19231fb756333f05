"""Match of typed words with what training searches found: with the query's words, and with queries like it.

Dimensions: G groups, I items, W words, Q queries of the log, N near queries.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from scipy.sparse import csr_array
from typing_extensions import Self

from gensr_dist.baselines.untrained.item_words import holders, weighted_words
from gensr_dist.data.sparse_vectors import present, unit_rows
from gensr_dist.retrieval.channels.contract import Float32
from gensr_dist.retrieval.channels.lexical import LONGEST
from gensr_dist.storage.arrays import open_array
from gensr_dist.storage.sparse_lists import (
    float32_rows,
    heaviest,
    list_files,
    open_lists,
    save_lists,
)

NEAR = 20  # queries that are like one
SHARPNESS = 3  # power of their likeness
CLICKS = 0.5  # of the share of a like query's finds, beside the cosine of words
FINDS = 1_000  # items listed of a query
_REMEDY = "run `gensr channels` again"


@dataclass(frozen=True, kw_only=True)
class ClickGraph:
    """What queries and their words found.

    The match of an item is the cosine of the query's words with those of the searches that found it, plus CLICKS x the
    share of searches that it ended, averaged over the NEAR most similar queries (this one among them) by their cosine
    to the power of SHARPNESS.
    """

    weight: ClassVar[float] = 20.0

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

    @property
    def empty(self) -> str | None:
        """Why no query finds anything."""
        return None if self.found_WI.nnz else "no training search has a query with words"

    def match(self, word_GW: csr_array) -> csr_array:
        """See `Matcher`; items that no word of the query found have no entry."""
        query_GW = float32_rows(unit_rows(weighted_words(word_GW, self.idf_W.astype(np.float64))))
        near_GQ = heaviest(csr_array(query_GW @ self.query_WQ), NEAR)
        near_GQ.data **= SHARPNESS
        total_G = np.maximum(np.asarray(near_GQ.sum(axis=1)).ravel(), 1e-9)
        near_GQ.data *= (CLICKS / np.repeat(total_G, np.diff(near_GQ.indptr))).astype(np.float32)
        words_GI = csr_array(query_GW @ self.found_WI)
        clicks_GI = csr_array(float32_rows(near_GQ) @ self.found_QI)
        words_GI.sort_indices()
        clicks_GI.sort_indices()
        return float32_rows(words_GI + clicks_GI)

    def save(self, folder: Path) -> None:
        """Write all arrays into an existing folder."""
        np.save(folder / "clicks_idf.npy", self.idf_W, allow_pickle=False)
        save_lists(folder, "clicks_of_words", self.found_WI)
        save_lists(folder, "queries_of_words", self.query_WQ)
        save_lists(folder, "clicks_of_queries", self.found_QI)

    @classmethod
    def open(cls, folder: Path, items: int) -> Self:
        """Map what `save` wrote."""
        found_QI = open_lists(folder, "clicks_of_queries", items, _REMEDY)
        return cls(
            idf_W=open_array(folder / "clicks_idf.npy", _REMEDY),
            found_WI=open_lists(folder, "clicks_of_words", items, _REMEDY),
            query_WQ=open_lists(folder, "queries_of_words", found_QI.shape[0], _REMEDY),
            found_QI=found_QI,
        )


FILES = (
    "clicks_idf.npy",
    *list_files("clicks_of_words"),
    *list_files("queries_of_words"),
    *list_files("clicks_of_queries"),
)
