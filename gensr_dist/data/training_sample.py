"""Training rows to be ranked with validation rows: how much better they do shows a leak or memorising.

Dimensions: R rows, P rows of a window, E those of them that enter the sample, C candidates.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from gensr_dist.data.events import Behaviour
from gensr_dist.data.hashing import hash_key
from gensr_dist.data.negatives.sampling import SeenPairs, sample_unseen
from gensr_dist.data.shards.store import TimelineStore, Window
from gensr_dist.data.timelines.rows import EvalRows, among_newest

_ROWS, _NEGATIVES = 0x73616D706C65, 0x626573696465  # name the two uses of random numbers: all others have other keys

Int = NDArray[np.int64]


def draw_training_rows(
    store: TimelineStore, counts: Mapping[Behaviour, int], seed: int, negatives: int = 99, newest: int = 0
) -> dict[Behaviour, EvalRows]:
    """Draw training rows whose users have a history by then, each with items that its user never saw.

    As with the frozen negatives of evaluation rows, "never" means in no split, and each unseen item is equally likely.
    The sample is a function of log and seed; one window of the log is in use at a time, and each is read once.

    Args:
        store: of the log.
        counts: rows of each task; all that there are, where they are fewer.
        seed: of the run.
        negatives: of each row.
        newest: rows of each user and task that are drawn from, the last ones; 0: all.

    Returns:
        For each task of `counts` its rows in the order of the log, possibly none.

    Raises:
        InputError: a user has seen so many items that too few are left.
    """
    kept = {task: _no_rows(negatives) for task in counts}
    for window in store.windows():
        event_P = _with_history(window, newest)
        task_P = window.timelines.behaviour_N[event_P]
        entering = {}
        for task, count in counts.items():
            own_P, before = event_P[task_P == task], len(kept[task])
            # The rows with the smallest hashes are a fair draw, and need no look at windows to come.
            place = _smallest(np.concatenate((kept[task].event_R, own_P + window.first_event)), count, seed)
            kept[task] = kept[task].take(place[place < before])
            entering[task] = own_P[place[place >= before] - before]
        if any(map(len, entering.values())):
            seen = SeenPairs.from_timelines(window.timelines, store.items)
            for task, event_E in entering.items():
                kept[task] = EvalRows.joined([kept[task], _rows(window, event_E, task, seen, seed, negatives)])
    return kept


def _with_history(window: Window, newest: int) -> Int:
    """Local events of the window's newest training rows before which their user had done something."""
    event_R = window.training_event_R
    event_R = event_R[among_newest(window.timelines, event_R, newest)]
    start_R = window.histories.user_start_V[window.timelines.user_of(event_R)]
    return event_R[window.histories.end_of_event_N[event_R] > start_R]


def _smallest(event_R: Int, count: int, seed: int) -> Int:
    """Places of the `count` events with the smallest hashes, ascending; no two events have the same."""
    if len(event_R) <= count:
        return np.arange(len(event_R))
    return np.sort(np.argpartition(hash_key((seed, _ROWS, event_R), len(event_R)), count)[:count])


def _rows(window: Window, event_E: Int, task: Behaviour, seen: SeenPairs, seed: int, negatives: int) -> EvalRows:
    user_E, key = window.timelines.user_of(event_E), (seed, _NEGATIVES, event_E + window.first_event)
    return window.eval_rows(event_E, task, sample_unseen(seen, user_E, negatives, key=key))


def _no_rows(negatives: int) -> EvalRows:
    none = np.empty(0, dtype=np.int64)
    return EvalRows(none, none, none, none, none, np.empty((0, 1 + negatives), dtype=np.int64))
