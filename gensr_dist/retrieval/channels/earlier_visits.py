"""Neighbours of items as they were known before some moments of the training, for what a training row is told.

Dimensions: I items, M events, K moments.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import vstack

from gensr_dist.data.history_evidence import EarlierVisits
from gensr_dist.data.sparse_vectors import Int
from gensr_dist.retrieval.channels.item_neighbours import covisitation
from gensr_dist.storage.sparse_lists import float32_rows

MOMENTS = 3  # which part the training events into four of equal numbers: seven do no better, and are as much again


def users_of_items(user_M: Int, item_M: Int, items: int) -> NDArray[np.uint32]:
    """Users who met each item, uint32 [I]."""
    return np.bincount(np.unique(user_M * items + item_M) % items, minlength=items).astype(np.uint32)


def earlier_visits(
    user_M: Int, item_M: Int, time_M: Int, users_I: NDArray[np.uint32], *, moments: int = MOMENTS
) -> EarlierVisits:
    """Count what was before each moment.

    Args:
        user_M: users of the training events, ascending.
        item_M: their items, in order of time.
        time_M: when, in milliseconds.
        users_I: of the whole log, see `users_of_items`.
        moments: K.
    """
    items = len(users_I)
    share_K = np.arange(1, moments + 1) / (moments + 1)
    moment_K = np.quantile(time_M, share_K, method="lower") if len(time_M) else np.zeros(moments, dtype=np.int64)
    lists, users_KI = [], np.zeros((moments, items), dtype=np.uint32)
    for number, moment in enumerate(moment_K.tolist()):
        before_M = time_M < moment
        lists.append(covisitation(user_M[before_M], item_M[before_M], items))
        users_KI[number] = users_of_items(user_M[before_M], item_M[before_M], items)
    return EarlierVisits(
        moment_K=moment_K.astype(np.int64),
        part_K=users_KI.sum(axis=1, dtype=np.int64) / max(1, int(users_I.sum(dtype=np.int64))),
        close_NI=float32_rows(vstack(lists, format="csr")),
        users_KI=users_KI,
    )
