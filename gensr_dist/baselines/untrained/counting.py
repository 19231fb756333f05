"""Counting: what a user will choose next, and find, by counts over the training events and the words of texts.

Nothing is learnt. An item is close to another where the same users chose both, where their texts share rare words and
where the same queries found both; a user's taste for an item is its closeness to the newest history items.

Dimensions: I items, V users, W words, Q queries, K features, R rows, L history, C candidates, M events.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, hstack
from typing_extensions import Self

from gensr_dist.baselines.untrained.item_words import tfidf_vectors, word_matrices
from gensr_dist.baselines.untrained.query_match import QueryMatch
from gensr_dist.data.events import Behaviour
from gensr_dist.data.history_evidence import DECAY
from gensr_dist.data.items import ItemStore
from gensr_dist.data.shards.store import TimelineStore
from gensr_dist.data.sparse_vectors import (
    Float,
    Int,
    candidate_dots,
    counted,
    present,
    squared_lengths,
    unit_rows,
    weighted_histories,
)
from gensr_dist.data.timelines.rows import EvalRows
from gensr_dist.data.words import TextWords

HISTORY = 20  # newest interactions
COVISITATION, WORDS, QUERIES = 0.7, 0.3, 0.02  # weights of the three cosines
POPULARITY = 0.025  # of log(1 + popularity) beside taste
MATCH, TASTE = 20, 10  # of a search: match of the query, taste, and log(1 + popularity) as it is
# Chosen on validation rows: of Amazon Beauty, and MATCH on those of the quickstart's simulated log too.

_BLOCK = 256  # rows whose profiles are in memory at a time: a profile has all users of its items


@dataclass(frozen=True, kw_only=True)
class TrainingCounts:
    """Positive training events, counted."""

    user_IV: csr_array  # 1 where the user chose the item in a recommendation
    found_IQ: csr_array  # searches with the query that ended at the item

    @classmethod
    def of(cls, store: TimelineStore, queries: int) -> Self:
        """Count in one pass over the log.

        Args:
            store: of the log.
            queries: Q.
        """
        none = np.empty(0, dtype=np.int64)
        item_parts, user_parts, found_parts, query_parts = [none], [none], [none], [none]
        for window in store.windows():
            timelines, event_M = window.timelines, window.training_event_R
            searched_M = timelines.behaviour_N[event_M] == Behaviour.SEARCH
            recommended_M, query_M = event_M[~searched_M], event_M[searched_M]
            query_M = query_M[timelines.query_N[query_M] >= 0]
            item_parts.append(timelines.item_N[recommended_M].astype(np.int64))
            user_parts.append(timelines.user_of(recommended_M) + window.first_user)
            found_parts.append(timelines.item_N[query_M].astype(np.int64))
            query_parts.append(timelines.query_N[query_M].astype(np.int64))
        user_IV = counted(np.concatenate(item_parts), np.concatenate(user_parts), (store.items, store.users))
        found_IQ = counted(np.concatenate(found_parts), np.concatenate(query_parts), (store.items, queries))
        return cls(user_IV=present(user_IV), found_IQ=found_IQ)


class Counting:
    """Both tasks from counts alone.

    Recommendation: the sum over the newest HISTORY interactions of DECAY^age x closeness, plus POPULARITY x
    log(1 + popularity). Closeness of two different items is the weighted sum of the cosines of their users, of the
    TF-IDF of their words and of the queries that found them. Search: MATCH x `QueryMatch` + TASTE x the
    recommendation's score + log(1 + popularity).

    Args:
        counts: of the training events.
        text_IW: 0 and 1, words of each item's text.
        word_QW: 0 and 1, words of each query.
        popularity_I: as `ItemStore.popularity_I` has it.
        store: gives histories.
    """

    def __init__(
        self,
        counts: TrainingCounts,
        text_IW: csr_array,
        word_QW: csr_array,
        popularity_I: NDArray[np.integer],
        store: TimelineStore,
    ) -> None:
        self.store = store
        self.match = QueryMatch.of(text_IW, word_QW, counts.found_IQ)
        self.log_popularity_I = np.log1p(popularity_I.astype(np.float64))
        cosines = (
            (COVISITATION, unit_rows(counts.user_IV)),
            (WORDS, tfidf_vectors(text_IW)),
            (QUERIES, unit_rows(counts.found_IQ)),
        )
        # One vector an item: the dot product of two is the weighted sum of their three cosines.
        self.item_IK = csr_array(hstack([vector * np.sqrt(weight) for weight, vector in cosines], format="csr"))
        self.self_closeness_I = squared_lengths(self.item_IK)

    @classmethod
    def of_log(cls, store: TimelineStore, items: ItemStore) -> Self:
        """Count a log's training events and words; texts and queries may be empty."""
        text_IW, word_QW = word_matrices(TextWords.of(items.texts), TextWords.of(items.queries))
        return cls(TrainingCounts.of(store, len(items.queries)), text_IW, word_QW, items.popularity_I, store)

    def score(self, rows: EvalRows) -> NDArray[np.floating]:
        """Scores [R, C]."""
        log_popularity_RC = self.log_popularity_I[rows.candidate_RC]
        score_RC = self.closeness(rows) + POPULARITY * log_popularity_RC
        searched_R = np.flatnonzero(rows.task_R == Behaviour.SEARCH)
        score_RC[searched_R] = TASTE * score_RC[searched_R] + log_popularity_RC[searched_R]
        asked_R = searched_R[rows.query_R[searched_R] >= 0]
        score_RC[asked_R] += MATCH * self.match.score(rows.query_R[asked_R], rows.candidate_RC[asked_R])
        return score_RC

    def closeness(self, rows: EvalRows) -> Float:
        """Weighted closeness of each candidate to the row's newest history, [R, C]; 0 without a history."""
        item_RL, _ = self.store.gather_histories(rows.user_R, rows.history_end_R, HISTORY)
        age_RL = (item_RL >= 0).sum(axis=1, keepdims=True) - 1 - np.arange(HISTORY)  # oldest first, padding last
        weight_RL = np.where(item_RL >= 0, DECAY ** np.maximum(age_RL, 0).astype(np.float64), 0)
        close_RC = np.empty(rows.candidate_RC.shape)
        for start in range(0, len(rows), _BLOCK):
            block = slice(start, start + _BLOCK)
            profile_RK = weighted_histories(item_RL[block], weight_RL[block], len(self.self_closeness_I)) @ self.item_IK
            close_RC[block] = candidate_dots(profile_RK, self.item_IK, rows.candidate_RC[block])
        return close_RC - self._self_closeness(item_RL, weight_RL, rows.candidate_RC)

    def _self_closeness(self, item_RL: Int, weight_RL: Float, candidate_RC: Int) -> Float:
        """What candidates in the history have from themselves: sampled negatives never have any, so it would tell."""
        weight_RC = np.zeros(candidate_RC.shape)
        for place in range(item_RL.shape[1]):
            row_M, column_M = np.nonzero(candidate_RC == item_RL[:, place, None])
            weight_RC[row_M, column_M] += weight_RL[row_M, place]
        return weight_RC * self.self_closeness_I[candidate_RC]
