"""Harder negatives of searches: uniform ones are told apart by the query's words alone.

Dimensions: R rows, C candidates, I items, Q distinct queries, H items that a user chooses, K items of a list.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from gensr_dist.baselines.untrained.bm25 import BM25
from gensr_dist.data.hashing import hash_key
from gensr_dist.data.items import ItemStore
from gensr_dist.data.negatives.query_items import QueryItems
from gensr_dist.data.shards.store import TimelineStore
from gensr_dist.data.timelines.rows import EvalRows

BM25_TOP, SAME_QUERY = "BM25's top", "same query"  # kinds of negatives
_DRAWN = 0x73616D6571  # names this use of random numbers


def harder(rows: EvalRows, store: TimelineStore, items: ItemStore, query_items: QueryItems) -> Mapping[str, EvalRows]:
    """Rows of searches with harder negatives, by kind."""
    return {
        BM25_TOP: with_bm25_negatives(rows, store, items),
        SAME_QUERY: with_same_query_negatives(rows, store, query_items),
    }


def with_same_query_negatives(rows: EvalRows, store: TimelineStore, query_items: QueryItems) -> EvalRows:
    """Rows of searches with other items that fit their query as negatives; where there are too few, own ones stay.

    Of a log whose queries are categories, as Amazon's, these are items of the same category. Nothing that the
    user ever chooses is among them. The draw is a function of the row's place and query.
    """
    candidate_RC = rows.candidate_RC.copy()
    chosen_H_of_row = _chosen(rows, store)
    for row in np.flatnonzero(rows.query_R >= 0).tolist():
        query = int(rows.query_R[row])
        fitting_K = np.asarray(query_items.item_M[query_items.start_Q[query] : query_items.start_Q[query + 1]])
        fitting_K = np.setdiff1d(fitting_K, chosen_H_of_row[row])
        order_K = np.argsort(hash_key((_DRAWN, row, query, fitting_K), len(fitting_K)), kind="stable")
        drawn_K = fitting_K[order_K][: candidate_RC.shape[1] - 1]
        own_C = candidate_RC[row, 1:]
        own_C = own_C[~np.isin(own_C, drawn_K)]
        candidate_RC[row, 1:] = np.concatenate((drawn_K, own_C))[: candidate_RC.shape[1] - 1]
    return dataclasses.replace(rows, candidate_RC=candidate_RC)


def with_bm25_negatives(rows: EvalRows, store: TimelineStore, items: ItemStore) -> EvalRows:
    """Rows of searches with as many negatives as before, which are now the items that BM25 puts first for the query.

    What the user ever chooses is no negative, as it is none of the frozen ones; ties of BM25 are in the order of the
    catalogue. Where the query has no known word its rows keep their own.
    """
    text = BM25(items.texts.to_list(), items.queries.to_list())
    count = rows.candidate_RC.shape[1] - 1
    candidate_RC = rows.candidate_RC.copy()
    chosen_H_of_row = _chosen(rows, store)
    for query in np.unique(rows.query_R[rows.query_R >= 0]).tolist():
        score_I = text.catalogue(items.queries[query])
        if not score_I.any():
            continue
        order_I = np.argsort(-score_I, kind="stable")
        for row in np.flatnonzero(rows.query_R == query).tolist():
            candidate_RC[row, 1:] = _first_others(order_I, count, chosen_H_of_row[row])
    return dataclasses.replace(rows, candidate_RC=candidate_RC)


def _chosen(rows: EvalRows, store: TimelineStore) -> list[NDArray[np.int64]]:
    """Items that each row's user chooses at any time, in all splits: the positive, what came before it and after."""
    chosen_H_of_row = [np.empty(0, dtype=np.int64)] * len(rows)
    for window, place_P in store.parts_of_users(rows.user_R):
        start_V, item_M = window.histories.user_start_V, window.histories.item_M
        for place in place_P.tolist():
            user = int(rows.user_R[place]) - window.first_user
            chosen_H_of_row[place] = np.unique(item_M[start_V[user] : start_V[user + 1]]).astype(np.int64)
    return chosen_H_of_row


def _first_others(order_I: NDArray[np.int64], count: int, chosen_H: NDArray[np.int64]) -> NDArray[np.int64]:
    first_C = order_I[: count + len(chosen_H)]
    return first_C[~np.isin(first_C, chosen_H)][:count]
