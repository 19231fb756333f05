"""Which events are predicted.

Dimensions: R rows, C candidates.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from typing_extensions import Self

from gensr_dist.data.timelines.splits import Split
from gensr_dist.data.timelines.timelines import Timelines


def training_rows(timelines: Timelines) -> np.ndarray:
    """Positions of the positive training events of both behaviours, int64 [R], ascending."""
    return np.flatnonzero(timelines.positive_N & (timelines.split_N == Split.TRAIN))


def among_newest(timelines: Timelines, event_R: np.ndarray, newest: int) -> np.ndarray:
    """Whether each of some ascending events is one of the last `newest` of its user and task, bool [R]; 0: all are."""
    if not newest:
        return np.ones(len(event_R), dtype=bool)
    key_R = 2 * timelines.user_of(event_R) + timelines.behaviour_N[event_R]
    _, number_R, count_X = np.unique(key_R, return_inverse=True, return_counts=True)
    order_R = np.argsort(number_R, kind="stable")
    later_R = np.empty(len(event_R), dtype=np.int64)
    later_R[order_R] = np.cumsum(count_X)[number_R[order_R]] - 1 - np.arange(len(event_R))
    return later_R < newest


def evaluation_rows(timelines: Timelines) -> np.ndarray:
    """Positions of the positive validation and test events of both behaviours, int64 [R], ascending."""
    return np.flatnonzero(timelines.positive_N & (timelines.split_N != Split.TRAIN))


@dataclass(frozen=True)
class EvalRows:
    """Events to rank, each with its frozen negatives."""

    event_R: np.ndarray  # int64, position among all events
    user_R: np.ndarray  # int64
    task_R: np.ndarray  # int64, Behaviour
    query_R: np.ndarray  # int64, row of the queries, -1 for none
    history_end_R: np.ndarray  # int64, end of the history among all history entries
    candidate_RC: np.ndarray  # int64 [R, 1 + negatives]; column 0 is the positive

    def __len__(self) -> int:
        return len(self.event_R)

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """Rows of all parts in order; at least one part."""
        return cls(
            **{field.name: np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(cls)}
        )

    def take(self, index: np.ndarray) -> Self:
        """Rows by position or by a slice's worth of positions."""
        return type(self)(**{field.name: getattr(self, field.name)[index] for field in fields(self)})
