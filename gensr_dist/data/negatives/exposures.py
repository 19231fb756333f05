"""Items that were shown with a positive and not clicked.

A session holds events of one user and one behaviour. Search events of the same query and time are one; recommendation
events are one while no gap between consecutive ones exceeds 30 minutes (a search in between does not end it). Only
training events count, here and in the gaps.

Dimensions: N events, S sessions, E offered exposures, R rows, C draws a row, B blocks of the log, T events of a window,
K draws of all rows.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

from gensr_dist.data.events import Behaviour
from gensr_dist.data.hashing import Key, hash_key, mix
from gensr_dist.data.sorted_keys import distinct, places
from gensr_dist.data.timelines.splits import Split
from gensr_dist.data.timelines.timelines import Timelines

GAP = 30 * 60 * 1000  # milliseconds between recommendation events of one session, at most

Int = NDArray[np.int64]


@dataclass(frozen=True)
class Exposures:
    """The items that each training positive's session offers as hard negatives, stored once a session.

    An item is offered if it was shown in the session, and its user has no positive training event with it, in whatever
    session or behaviour. A click in the held-out splits does not keep it from being offered: sparing those items would
    tell the model which they are.
    """

    session_N: np.ndarray  # uint32: session of each event; 0 where there is none or it has no positive or no offer
    start_S: np.ndarray  # int64 [S + 1] into item_E; session 0 is empty
    item_E: np.ndarray  # uint32, distinct and ascending in a session

    @classmethod
    def from_timelines(cls, timelines: Timelines) -> Self:
        """Find the sessions of all users; 4 bytes an event and 4 an offer remain."""
        event_T, session_T = _sessions(timelines)
        positive_T = timelines.positive_N[event_T]
        user_T, item_T = timelines.user_N[event_T], timelines.item_N[event_T].astype(np.int64)
        items = int(item_T.max(initial=0)) + 1

        liked = distinct(user_T[positive_T] * items + item_T[positive_T])
        has_positive_S = np.bincount(session_T[positive_T], minlength=int(session_T.max(initial=-1)) + 1) > 0
        shown = np.flatnonzero(~positive_T & has_positive_S[session_T])
        shown = shown[places(liked, user_T[shown] * items + item_T[shown]) < 0]
        offer_E = distinct(session_T[shown] * items + item_T[shown])

        # Sessions that offer something are renumbered from 1.
        offering, size_S = np.unique(offer_E // items, return_counts=True)
        number_S = np.zeros(len(has_positive_S), dtype=np.uint32)
        number_S[offering] = np.arange(1, len(offering) + 1)
        session_N = np.zeros(len(timelines.item_N), dtype=np.uint32)
        session_N[event_T] = number_S[session_T]
        return cls(
            session_N=session_N,
            start_S=np.concatenate([[0, 0], np.cumsum(size_S)]).astype(np.int64),
            item_E=(offer_E % items).astype(np.uint32),
        )

    def sample(self, event_R: Int, count: int, key: Key) -> Int:
        """Draw up to `count` distinct items a row, every subset of the session's offers equally likely.

        Floyd's algorithm (Bentley and Floyd 1987), all rows at once.

        Args:
            event_R: position of each row's event in the timelines.
            count: draws a row, C.
            key: names the rows; a row's draws depend on its own key and session alone.

        Returns:
            int64 [R, C]; -1 fills the last places where a session offers fewer.
        """
        session_R = self.session_N[event_R]
        start_R = self.start_S[session_R]
        size_R = self.start_S[session_R + 1] - start_R
        drawn_R = np.minimum(size_R, count)
        state_R = hash_key(key, len(event_R))
        place_RC = np.full((len(event_R), count), -1, dtype=np.int64)
        for draw in range(int(drawn_R.max(initial=0))):
            newest_R = size_R - drawn_R + draw
            bound_R = np.maximum(newest_R + 1, 1).astype(np.uint64)
            chosen_R = (mix(state_R + np.uint64(draw + 1)) % bound_R).astype(np.int64)
            taken_R = (place_RC[:, :draw] == chosen_R[:, None]).any(axis=1)
            place_RC[:, draw] = np.where(draw < drawn_R, np.where(taken_R, newest_R, chosen_R), -1)
        item_RC = np.full(place_RC.shape, -1, dtype=np.int64)
        row, draw_K = np.nonzero(place_RC >= 0)
        item_RC[row, draw_K] = self.item_E[start_R[row] + place_RC[row, draw_K]]
        return item_RC


def _sessions(timelines: Timelines) -> tuple[Int, Int]:
    """Training events, those of recommendation first, and the number of each one's session, counted from 0."""
    training_N = timelines.split_N == Split.TRAIN
    user_N, time_N = timelines.user_N, timelines.time_N
    event_B, session_B = [], []
    sessions = 0
    for behaviour in Behaviour:
        event = np.flatnonzero(training_N & (timelines.behaviour_N == behaviour))
        user, time, query = user_N[event], time_N[event], timelines.query_N[event]
        if behaviour == Behaviour.SEARCH:
            by_query = np.lexsort((query, time, user))  # queries of one moment may alternate
            event, user, time, query = event[by_query], user[by_query], time[by_query], query[by_query]
            parted = (time[1:] != time[:-1]) | (query[1:] != query[:-1])
        else:
            parted = time[1:] - time[:-1] > GAP
        opens = np.ones(len(event), dtype=bool)
        opens[1:] = parted | (user[1:] != user[:-1])
        event_B.append(event)
        session_B.append(sessions + np.cumsum(opens) - 1)
        sessions += int(opens.sum())
    return np.concatenate(event_B), np.concatenate(session_B)
