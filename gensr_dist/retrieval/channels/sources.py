"""What channels are built from: training events in order, searches that found something, words.

Dimensions: I items, Q queries, W words, M events, S searches with a query.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import csr_array
from typing_extensions import Self

from gensr_dist.baselines.untrained.item_words import word_counts
from gensr_dist.data.events import Behaviour
from gensr_dist.data.items import ItemStore
from gensr_dist.data.repeated_searches import RepeatedSearches
from gensr_dist.data.shards.store import TimelineStore
from gensr_dist.data.sparse_vectors import Int, counted
from gensr_dist.data.words import TextWords


@dataclass(frozen=True, kw_only=True)
class ChannelSources:
    """Positive training events and texts of a log."""

    user_M: Int  # ascending
    item_M: Int  # in order of time
    time_M: Int
    found_IQ: csr_array  # searches with the query that ended at the item
    repeated: RepeatedSearches  # of these searches
    hash_W: NDArray[np.uint64]  # of the words of texts and queries, ascending
    text_IW: csr_array  # how often each item's text has each word
    word_QW: csr_array  # how often each query has each word

    @classmethod
    def of(cls, store: TimelineStore, items: ItemStore) -> Self:
        """Read the log; texts and queries may be empty."""
        parts = [np.empty((4, 0), dtype=np.int64)]
        for window in store.windows():
            timelines, event_M = window.timelines, window.training_event_R
            user_M = timelines.user_of(event_M) + window.first_user
            searched_M = timelines.behaviour_N[event_M] == Behaviour.SEARCH
            query_M = np.where(searched_M, timelines.query_N[event_M], -1)
            parts.append(np.stack([user_M, timelines.item_N[event_M], timelines.time_N[event_M], query_M]))
        user_M, item_M, time_M, query_M = np.concatenate(parts, axis=1)
        user_S, item_S, query_S = (column_M[query_M >= 0] for column_M in (user_M, item_M, query_M))
        return cls.from_texts(
            items.texts,
            items.queries,
            user_M=user_M,
            item_M=item_M,
            time_M=time_M,
            found_IQ=counted(item_S, query_S, (store.items, len(items.queries))),
            repeated=RepeatedSearches.among(user_S * store.items + item_S, query_S),
        )

    @classmethod
    def from_texts(
        cls,
        texts: pl.Series,
        queries: pl.Series,
        *,
        user_M: Int,
        item_M: Int,
        time_M: Int,
        found_IQ: csr_array,
        repeated: RepeatedSearches,
    ) -> Self:
        """Split texts [I] and queries [Q] into words."""
        hash_W, (text_IW, word_QW) = word_counts(TextWords.of(texts), TextWords.of(queries))
        return cls(
            user_M=user_M,
            item_M=item_M,
            time_M=time_M,
            found_IQ=found_IQ,
            repeated=repeated,
            hash_W=hash_W,
            text_IW=text_IW,
            word_QW=word_QW,
        )
