"""Channel: what like users chose next: training users whose interactions overlap with the newest of the history.

Session kNN in the manner of V-SKNN and STAN, one way in time: what a neighbour chose after the shared item.

Dimensions: G groups, L newest history, I items, P (group, item) pairs, S (group, user) pairs, X interactions of all of
them.
"""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array

from gensr_dist.data.sorted_keys import ranges
from gensr_dist.data.sparse_vectors import Float, Int
from gensr_dist.retrieval.channels.sessions import Sessions
from gensr_dist.retrieval.channels.sparse_scores import SparseScores
from gensr_dist.retrieval.requests import Requests
from gensr_dist.storage.sparse_lists import float32_rows

# Chosen on validation rows of Amazon Beauty (configs/RESULTS.md); only that it looks forward matters much.
DECAY = 0.5  # of an interaction's weight from one to the next older one
NEIGHBOURS = 500  # users that a history is compared with in the end
LENGTH = 0.25  # power of the number of a user's interactions that the likeness is divided by
NEAR = 5.0  # interactions after the shared item over which a neighbour's choices fall to 1 / e
REACH = 20  # interactions after the shared item that are looked at


@dataclass(frozen=True)
class _Neighbours:
    """The likest users of each group, group by group."""

    group_S: Int
    user_S: Int
    like_S: Float
    shared_S: Int  # place of the shared interaction of the highest weight


class SessionNeighbours:
    """Square root of the sum over like users of likeness x exp(-d / NEAR), d interactions after the shared item.

    The likeness of a user is the sum of DECAY^age of the interactions of the history with items that the user met too
    (among the newest users of each), divided by the user's interactions to the power of LENGTH. The own interactions of
    a user who is known say nothing.

    Args:
        sessions: of the training users.
        neighbours: users of a group, the likest; equally like ones in order of their numbers.
    """

    def __init__(self, sessions: Sessions, *, neighbours: int = NEIGHBOURS) -> None:
        self.sessions, self.neighbours = sessions, neighbours
        self.items = len(sessions.met_start_I) - 1
        self.empty = None if len(sessions.item_M) else "no user has a training event"

    def scores(self, requests: Requests) -> SparseScores:
        """What like users chose next is proposed; nothing for a group without a history."""
        near = self._near(requests)
        start_V = self.sessions.start_V
        length_S = np.minimum(start_V[near.user_S + 1].astype(np.int64) - near.shared_S - 1, REACH)
        place_X = ranges(near.shared_S + 1, length_S)
        after_X = ranges(np.ones(len(length_S), dtype=np.int64), length_S)
        value_X = np.repeat(near.like_S, length_S) * np.exp(-after_X / NEAR)
        item_X = self.sessions.item_M[place_X].astype(np.int64)
        shape = (len(requests), self.items)
        score_GI = csr_array((value_X, (np.repeat(near.group_S, length_S), item_X)), shape=shape)
        score_GI.sum_duplicates()
        score_GI.data = np.sqrt(score_GI.data)  # a linear fusion has more use for it than for the sum
        no_prior_I = np.broadcast_to(np.float32(0), self.items)
        return SparseScores(float32_rows(score_GI), no_prior_I, allowed_I=requests.allowed_I)

    def _near(self, requests: Requests) -> _Neighbours:
        """Compare; every step is by group, so that no group depends on another."""
        met_start_I, start_V = self.sessions.met_start_I, self.sessions.start_V
        group_P, item_P, weight_P = _newest_items(requests)
        first_P = met_start_I[item_P].astype(np.int64)
        length_P = met_start_I[item_P + 1].astype(np.int64) - first_P
        place_X = self.sessions.met_N[ranges(first_P, length_P)].astype(np.int64)
        group_X, weight_X = np.repeat(group_P, length_P), np.repeat(weight_P, length_P)
        user_X = np.searchsorted(start_V, place_X.astype(start_V.dtype), side="right") - 1  # else `start_V` is copied
        if requests.user_G is not None:
            other_X = user_X != requests.user_G[group_X]
            place_X, group_X, weight_X, user_X = (part[other_X] for part in (place_X, group_X, weight_X, user_X))
        users = len(start_V) - 1
        order_X = np.lexsort((-weight_X, user_X, group_X))  # of a user the heaviest first
        place_X, weight_X, key_X = place_X[order_X], weight_X[order_X], (group_X * users + user_X)[order_X]
        key_S, first_S, of_X = np.unique(key_X, return_index=True, return_inverse=True)
        group_S, user_S = np.divmod(key_S, max(1, users))
        size_S = start_V[user_S + 1].astype(np.int64) - start_V[user_S]
        like_S = np.bincount(of_X, weights=weight_X, minlength=len(key_S)) / size_S**LENGTH
        order_S = np.lexsort((user_S, -like_S, group_S))
        rank_S = np.arange(len(order_S)) - np.searchsorted(group_S, group_S)  # `group_S` ascends, sorted or not
        kept_S = order_S[rank_S < self.neighbours]
        return _Neighbours(group_S[kept_S], user_S[kept_S], like_S[kept_S], place_X[first_S[kept_S]])


def _newest_items(requests: Requests) -> tuple[Int, Int, Float]:
    """Group, item and weight of each item of the newest interactions; a repeated one counts where it is newest."""
    item_GL = requests.item_GL
    real_GL = item_GL >= 0
    for place in range(item_GL.shape[1] - 1):
        real_GL[:, place] &= ~(item_GL[:, place + 1 :] == item_GL[:, place : place + 1]).any(axis=1)
    group_P, place_P = np.nonzero(real_GL)
    return group_P, item_GL[group_P, place_P], DECAY ** requests.age_GL[group_P, place_P].astype(np.float64)
