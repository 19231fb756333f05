"""Scores items by BM25 between their text and the words of the query (Robertson's, through the bm25s library).

Dimensions: I items, Q queries, R rows, C candidates.
"""

import logging
import re
from collections.abc import Sequence

import bm25s
import numpy as np
from numpy.typing import NDArray

from gensr_dist.data.timelines.rows import EvalRows

_WORD = re.compile(r"\w+")


class BM25:
    """Text match alone: no user, no history. An item or query without a known word scores 0.

    Args:
        item_texts: text of every item, in the order of the catalogue.
        query_texts: text of every query, by its row.
    """

    def __init__(self, item_texts: Sequence[str], query_texts: Sequence[str]) -> None:
        self.query_texts = query_texts
        self.items = len(item_texts)
        words = [_words(text) for text in item_texts]
        self.vocabulary = frozenset(word for text in words for word in text)
        logging.getLogger("bm25s").setLevel(logging.WARNING)
        self.index = bm25s.BM25()
        if self.vocabulary:
            self.index.index(words, show_progress=False)

    def score(self, rows: EvalRows) -> NDArray[np.floating]:
        """Scores [R, C]; each distinct query is looked up once."""
        query_Q, query_of_R = np.unique(rows.query_R, return_inverse=True)
        score_RC = np.zeros(rows.candidate_RC.shape, dtype=np.float32)
        for place, query in enumerate(query_Q):
            if query >= 0:
                of_query = np.flatnonzero(query_of_R == place)
                score_RC[of_query] = self.catalogue(self.query_texts[query])[rows.candidate_RC[of_query]]
        return score_RC

    def catalogue(self, query: str) -> NDArray[np.float32]:
        """Scores of all items for one query, [I]."""
        words = [word for word in _words(query) if word in self.vocabulary]
        if not words:
            return np.zeros(self.items, dtype=np.float32)
        return self.index.get_scores(words)


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())
