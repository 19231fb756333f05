"""Harder negatives of searches: uniform ones are told apart by the query's words alone.

Dimensions: R rows, C candidates, I items, Q distinct queries, H items that a user had met, K items of a list.
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
_SEEN = 1_000  # newest interactions, which are no negatives
_DRAWN = 0x73616D6571  # names this use of random numbers


def harder(rows: EvalRows, store: TimelineStore, items: ItemStore, query_items: QueryItems) -> Mapping[str, EvalRows]:
    """Rows of searches with harder negatives, by kind."""
    return {
        BM25_TOP: with_bm25_negatives(rows, store, items),
        SAME_QUERY: with_same_query_negatives(rows, store, query_items),
    }


def with_same_query_negatives(rows: EvalRows, store: TimelineStore, query_items: QueryItems) -> EvalRows:
    """Rows of searches with other items that fit their query as negatives; where there are too few, own ones stay.

    Of a log whose queries are categories, as Amazon's, these are items of the same category. Neither the positive nor
    what the user had met by then is among them. The draw is a function of the row's place and query.
    """
    candidate_RC = rows.candidate_RC.copy()
    seen_RH, _ = store.gather_histories(rows.user_R, rows.history_end_R, _SEEN)
    for row in np.flatnonzero(rows.query_R >= 0).tolist():
        query = int(rows.query_R[row])
        fitting_K = np.asarray(query_items.item_M[query_items.start_Q[query] : query_items.start_Q[query + 1]])
        fitting_K = np.setdiff1d(fitting_K, [*seen_RH[row].tolist(), int(candidate_RC[row, 0])])
        order_K = np.argsort(hash_key((_DRAWN, row, query, fitting_K), len(fitting_K)), kind="stable")
        drawn_K = fitting_K[order_K][: candidate_RC.shape[1] - 1]
        own_C = np.setdiff1d(candidate_RC[row, 1:], drawn_K)
        candidate_RC[row, 1:] = np.concatenate((drawn_K, own_C))[: candidate_RC.shape[1] - 1]
    return dataclasses.replace(rows, candidate_RC=candidate_RC)


def with_bm25_negatives(rows: EvalRows, store: TimelineStore, items: ItemStore) -> EvalRows:
    """Rows of searches with as many negatives as before, which are now the items that BM25 puts first for the query.

    The positive and what the user had met by then are no negatives; ties of BM25 are in the order of the catalogue.
    Where the query has no known word its rows keep their own.
    """
    text = BM25(items.texts.to_list(), items.queries.to_list())
    count = rows.candidate_RC.shape[1] - 1
    candidate_RC = rows.candidate_RC.copy()
    seen_RH, _ = store.gather_histories(rows.user_R, rows.history_end_R, _SEEN)
    for query in np.unique(rows.query_R[rows.query_R >= 0]).tolist():
        score_I = text.catalogue(items.queries[query])
        if not score_I.any():
            continue
        order_I = np.argsort(-score_I, kind="stable")
        for row in np.flatnonzero(rows.query_R == query).tolist():
            candidate_RC[row, 1:] = _first_unmet(order_I, count, seen_RH[row], int(candidate_RC[row, 0]))
    return dataclasses.replace(rows, candidate_RC=candidate_RC)


def _first_unmet(order_I: NDArray[np.int64], count: int, seen_H: NDArray[np.int64], positive: int) -> NDArray[np.int64]:
    first_C = order_I[: count + len(seen_H) + 1]
    return first_C[~np.isin(first_C, np.append(seen_H, positive))][:count]
