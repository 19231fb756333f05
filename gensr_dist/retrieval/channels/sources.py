"""What channels are built from: training events in order, searches that found something, words.

Dimensions: I items, Q queries, W words, M events.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import csr_array
from typing_extensions import Self

from gensr_dist.baselines.untrained.counting import TrainingCounts
from gensr_dist.baselines.untrained.item_words import word_counts
from gensr_dist.data.items import ItemStore
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
    hash_W: NDArray[np.uint64]  # of the words of texts and queries, ascending
    text_IW: csr_array  # how often each item's text has each word
    word_QW: csr_array  # how often each query has each word

    @classmethod
    def of(cls, store: TimelineStore, items: ItemStore) -> Self:
        """Read the log; texts and queries may be empty."""
        none = np.empty(0, dtype=np.int64)
        user_parts, item_parts, time_parts = [none], [none], [none]
        for window in store.windows():
            event_M = window.training_event_R
            user_parts.append(window.timelines.user_of(event_M) + window.first_user)
            item_parts.append(window.timelines.item_N[event_M].astype(np.int64))
            time_parts.append(window.timelines.time_N[event_M])
        return cls.from_texts(
            items.texts,
            items.queries,
            user_M=np.concatenate(user_parts),
            item_M=np.concatenate(item_parts),
            time_M=np.concatenate(time_parts),
            found_IQ=TrainingCounts.of(store, len(items.queries)).found_IQ,
        )

    @classmethod
    def from_texts(
        cls, texts: pl.Series, queries: pl.Series, *, user_M: Int, item_M: Int, time_M: Int, found_IQ: csr_array
    ) -> Self:
        """Split texts [I] and queries [Q] into words."""
        hash_W, (text_IW, word_QW) = word_counts(TextWords.of(texts), TextWords.of(queries))
        return cls(
            user_M=user_M,
            item_M=item_M,
            time_M=time_M,
            found_IQ=found_IQ,
            hash_W=hash_W,
            text_IW=text_IW,
            word_QW=word_QW,
        )

    @classmethod
    def silent(cls, items: int) -> Self:
        """A log without events, texts or queries."""
        none = np.empty(0, dtype=np.int64)
        return cls.from_texts(
            pl.Series([""] * items, dtype=pl.String),
            pl.Series([], dtype=pl.String),
            user_M=none,
            item_M=none,
            time_M=none,
            found_IQ=counted(none, none, (items, 0)),
        )
