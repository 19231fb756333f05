"""Whether queries name what they are to find.

Dimensions: R rows, C candidates (column 0 is the positive), U distinct items of the rows, K distinct queries, W words,
M words of the rows' queries, X all candidates of all rows.
"""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array
from typing_extensions import Self

from gensr_dist.baselines.untrained.item_words import word_matrices
from gensr_dist.data.items import ItemStore
from gensr_dist.data.timelines.rows import EvalRows
from gensr_dist.data.words import TextWords

_BLOCK = 2_048  # rows at a time


@dataclass(frozen=True, kw_only=True)
class QueryProbe:
    """Of searches with a query."""

    rows: int
    candidates: int  # of a row
    names: float  # share whose query has all words of the target's text, which has some: the answer is given away
    fits: float  # share whose target's text has all words of the query
    alone: float  # share whose target does, and none of its negatives
    negatives_fit: float  # share of all negatives that do

    @classmethod
    def of(cls, rows: EvalRows, items: ItemStore) -> Self | None:
        """Look at the words of queries and texts; None where no row has a query.

        Args:
            rows: searches among their frozen negatives.
            items: of the log.
        """
        rows = rows.take(np.flatnonzero(rows.query_R >= 0))
        if not len(rows):
            return None
        item_U, slot_X = np.unique(rows.candidate_RC, return_inverse=True)
        query_K, asked_R = np.unique(rows.query_R, return_inverse=True)
        text_UW, word_KW = word_matrices(
            TextWords.of(items.texts.gather(item_U)), TextWords.of(items.queries.gather(query_K))
        )
        slot_RC = slot_X.reshape(rows.candidate_RC.shape)
        words_U, words_K = np.diff(text_UW.indptr), np.diff(word_KW.indptr)
        shared_RC = np.concatenate(
            [
                _shared(word_KW[asked_R[start : start + _BLOCK]], text_UW, slot_RC[start : start + _BLOCK])
                for start in range(0, len(rows), _BLOCK)
            ]
        )
        asked = words_K[asked_R][:, None]
        fits_RC = (shared_RC == asked) & (asked > 0)
        text_R = words_U[slot_RC[:, 0]]
        return cls(
            rows=len(rows),
            candidates=rows.candidate_RC.shape[1],
            names=float(np.mean((shared_RC[:, 0] == text_R) & (text_R > 0))),
            fits=float(fits_RC[:, 0].mean()),
            alone=float(np.mean(fits_RC[:, 0] & ~fits_RC[:, 1:].any(axis=1))),
            negatives_fit=float(fits_RC[:, 1:].mean()),
        )


def _shared(word_RW: csr_array, text_UW: csr_array, slot_RC: np.ndarray) -> np.ndarray:
    """Words that each row's query shares with each of its candidates' texts, [R, C]."""
    rows, width = slot_RC.shape
    candidate_XW = text_UW[slot_RC.ravel()]
    place_X = np.repeat(np.arange(rows * width) // width, np.diff(candidate_XW.indptr))
    # A (row, word) pair as one number, looked up among those of the queries.
    words = word_RW.shape[1]
    asked_M = np.sort(np.repeat(np.arange(rows), np.diff(word_RW.indptr)) * words + word_RW.indices)
    held_M = place_X * words + candidate_XW.indices
    found_M = np.isin(held_M, asked_M)
    of_M = np.repeat(np.arange(rows * width), np.diff(candidate_XW.indptr))
    return np.bincount(of_M[found_M], minlength=rows * width).reshape(rows, width)
