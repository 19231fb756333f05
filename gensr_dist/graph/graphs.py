"""The graphs that LightGCN is trained on: the whole one, and for each fold the one without its users' edges.

Dimensions: V users, Z edges, K folds.
"""

from collections.abc import Iterable

import numpy as np

from gensr_dist.data.folds import fold_of_users
from gensr_dist.data.item_vectors import WHOLE
from gensr_dist.data.timelines.timelines import Timelines
from gensr_dist.errors import InputError
from gensr_dist.graph.config import check_folds
from gensr_dist.graph.edges import Edges, recommendation_edges


class Graphs:
    """Training edges by graph, and the validation edges that all of them share.

    Users of a fold have no training edge in the graph without it, so that none of them is validated on it.

    Args:
        train: training edges of the whole log.
        valid: its validation edges.
        folds: parts of the users; 0 for none.
        seed: of the parts.

    Raises:
        InputError: there is no training edge, or none outside of a fold, or there are more folds than users, or one.
    """

    def __init__(self, train: Edges, valid: Edges, folds: int, seed: int) -> None:
        self.train, self.valid, self.folds = train, valid, folds
        if not len(train):
            raise InputError(
                "lightgcn",
                "the training split has no positive recommendation event, so there is no graph to train on",
                "check data.split and the recommendation log of the source",
            )
        if not folds:
            return
        check_folds(folds)
        if folds > train.users:
            raise InputError(
                "lightgcn.folds", f"{folds} parts of {train.users} users", "lower it; 0 trains on the whole graph alone"
            )
        self._fold_V = fold_of_users(np.arange(train.users), folds, seed).astype(np.int32)
        self._edges_K = np.bincount(self._fold_V[train.user_Z], minlength=folds)
        empty_K = np.flatnonzero(self._edges_K == len(train))
        if len(empty_K):
            raise InputError(
                "lightgcn.folds",
                f"every training edge is of fold {empty_K[0]}'s users, which leaves none to train on without them",
                "set it to 0, or bring a log of more users",
            )

    @classmethod
    def of_windows(
        cls, windows: Iterable[tuple[int, Timelines]], *, users: int, items: int, folds: int, seed: int
    ) -> "Graphs":
        """The graphs of a log, in one pass over its windows; see `recommendation_edges`."""
        train, valid = recommendation_edges(windows, users=users, items=items)
        return cls(train, valid, folds, seed)

    @property
    def names(self) -> tuple[int, ...]:
        """All graphs in the order of their trainings: WHOLE, then the folds."""
        return (WHOLE, *range(self.folds))

    def edges(self, fold: int) -> int:
        """Number of training edges of WHOLE or without a fold."""
        return len(self.train) - (0 if fold == WHOLE else int(self._edges_K[fold]))

    def training_edges(self, fold: int) -> Edges:
        """Training edges of WHOLE, or a copy of those without a fold."""
        if fold == WHOLE:
            return self.train
        kept_Z = self._fold_V[self.train.user_Z] != fold
        return Edges(key_Z=self.train.key_Z[kept_Z], users=self.train.users, items=self.train.items)
