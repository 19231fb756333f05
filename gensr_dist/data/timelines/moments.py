"""What the interactions of a history held besides their items: when they were, and what had been asked for.

Dimensions: N events, M interactions (twin-merged positive events, as in `Histories`), P positive events.
"""

from dataclasses import dataclass

import numpy as np
from typing_extensions import Self

from gensr_dist.data.timelines.histories import openings
from gensr_dist.data.timelines.splits import Split
from gensr_dist.data.timelines.timelines import Timelines


@dataclass(frozen=True)
class Moments:
    """Columns beside those of `Histories`, in the same order."""

    time_M: np.ndarray  # int64, milliseconds
    query_M: np.ndarray  # int32, row of the queries; -1 where the interaction had no search. Of twins the search's
    training_M: np.ndarray  # bool: no event of it is held out

    @classmethod
    def from_timelines(cls, timelines: Timelines) -> Self:
        """Merge twins as `Histories` does."""
        event_P, opens_P = openings(timelines)
        number_P = np.cumsum(opens_P) - 1
        query_M = np.full(int(opens_P.sum()), -1, dtype=np.int32)
        asked_P = np.flatnonzero(timelines.query_N[event_P] >= 0)
        query_M[number_P[asked_P]] = timelines.query_N[event_P[asked_P]]
        training_M = np.ones(len(query_M), dtype=bool)
        training_M[number_P[timelines.split_N[event_P] != Split.TRAIN]] = False
        return cls(time_M=timelines.time_N[event_P[opens_P]], query_M=query_M, training_M=training_M)
