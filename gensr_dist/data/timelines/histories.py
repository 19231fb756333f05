"""What a user had done before a given moment.

Dimensions: N events, M interactions (twin-merged positive events), V users, G rows, L history, P positive events.
"""

from dataclasses import dataclass

import numpy as np
from typing_extensions import Self

from gensr_dist.data.timelines.timelines import Timelines


@dataclass(frozen=True)
class Histories:
    """Positive events in order, with the two events of one interaction merged into one entry."""

    item_M: np.ndarray  # uint32
    behaviour_M: np.ndarray  # uint8: bits of Behaviour, both of twins
    user_start_V: np.ndarray  # int64 [V + 1]
    end_of_event_N: np.ndarray  # int32 or int64: entries strictly earlier than event n end (exclusive) here in item_M

    @classmethod
    def from_timelines(cls, timelines: Timelines) -> Self:
        """Merge twins and find, for every event, how far its user's strictly earlier interactions reach."""
        time_N = timelines.time_N
        event_P, opens_P = openings(timelines)
        event_M = event_P[opens_P]
        code_P = (1 << timelines.behaviour_N[event_P]).astype(np.uint8)
        behaviour_M = np.bitwise_or.reduceat(code_P, np.flatnonzero(opens_P)) if len(event_P) else code_P

        opens_N = np.zeros(len(time_N), dtype=bool)
        opens_N[event_M] = True
        before_N = np.cumsum(opens_N, dtype=np.int32 if len(event_M) < 1 << 31 else np.int64) - opens_N
        moment_N = np.flatnonzero(_changes(timelines.user_start_V, time_N))  # first event of each (user, time)
        events_of_moment = np.diff(np.append(moment_N, len(time_N)))
        return cls(
            item_M=timelines.item_N[event_M],
            behaviour_M=behaviour_M,
            user_start_V=np.searchsorted(event_M, timelines.user_start_V),
            # Interactions opened before the first event of the moment: all strictly earlier ones, no twin.
            end_of_event_N=np.repeat(before_N[moment_N], events_of_moment),
        )

    def gather(self, user_G: np.ndarray, end_G: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
        """Read the newest `length` interactions before `end_G`, oldest first.

        Returns:
            item_GL: int64 rows of the catalogue, padded at the end with -1.
            behaviour_GL: int64, padded with 0.
        """
        place_GL = self.places(user_G, end_G, length)
        return taken(self.item_M, place_GL, -1), taken(self.behaviour_M, place_GL, 0)

    def places(self, user_G: np.ndarray, end_G: np.ndarray, length: int) -> np.ndarray:
        """Where the newest `length` interactions before `end_G` stand, oldest first, padded with -1; int64 [G, L]."""
        end_G = np.asarray(end_G, dtype=np.int64)
        start_G = np.maximum(self.user_start_V[user_G], end_G - length)
        place_GL = start_G[:, None] + np.arange(length)
        return np.where(place_GL < end_G[:, None], place_GL, -1)


def taken(value_M: np.ndarray, place_GL: np.ndarray, padding: int) -> np.ndarray:
    """Values at the places that `Histories.places` gives, int64 [G, L]."""
    if not len(value_M):
        return np.full(place_GL.shape, padding, dtype=np.int64)
    return np.where(place_GL >= 0, value_M[np.maximum(place_GL, 0)].astype(np.int64), padding)


def count_interactions(timelines: Timelines) -> int:
    """Number of entries M that `Histories` of these timelines has."""
    return int(np.count_nonzero(openings(timelines)[1]))


def openings(timelines: Timelines) -> tuple[np.ndarray, np.ndarray]:
    """Positive events, int64 [P], and which of them open an interaction, the others being second twins; bool [P]."""
    event_P = np.flatnonzero(timelines.positive_N)
    user_start_V = np.searchsorted(event_P, timelines.user_start_V)
    return event_P, _changes(user_start_V, timelines.time_N[event_P], timelines.item_N[event_P])


def _changes(user_start_V: np.ndarray, *columns: np.ndarray) -> np.ndarray:
    """True where a row differs from the one before, and in each user's first row."""
    changed = np.zeros(len(columns[0]), dtype=bool)
    for column in columns:
        changed[1:] |= column[1:] != column[:-1]
    changed[user_start_V[user_start_V < len(changed)]] = True
    return changed
