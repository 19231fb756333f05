"""Harder negatives of searches: uniform ones are told apart by the query's words alone.

Dimensions: R rows, C candidates, I items, Q distinct queries.
"""

import numpy as np
from numpy.typing import NDArray

from gensr_dist.baselines.untrained.bm25 import BM25
from gensr_dist.data.items import ItemStore
from gensr_dist.data.shards.store import TimelineStore
from gensr_dist.data.timelines.rows import EvalRows

_SEEN = 1_000  # newest interactions, which are no negatives


def with_hard_negatives(rows: EvalRows, store: TimelineStore, items: ItemStore) -> EvalRows:
    """The rows with as many negatives as before, which are now the items that BM25 puts first for the query.

    The positive and what the user had met by then are no negatives; ties of BM25 are in the order of the catalogue.
    Where the query has no known word its rows keep their own.

    Args:
        rows: searches.
        store: of the log.
        items: of its catalogue.
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
    return EvalRows(rows.event_R, rows.user_R, rows.task_R, rows.query_R, rows.history_end_R, candidate_RC)


def _first_unmet(order_I: NDArray[np.int64], count: int, seen_H: NDArray[np.int64], positive: int) -> NDArray[np.int64]:
    first_C = order_I[: count + len(seen_H) + 1]
    return first_C[~np.isin(first_C, np.append(seen_H, positive))][:count]
