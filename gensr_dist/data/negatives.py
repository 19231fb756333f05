"""Items that a user never met.

Dimensions: K pairs, R rows, C draws a row, V users, I items.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm
from typing_extensions import Self

from gensr_dist.data.splits import Split
from gensr_dist.data.timelines import Timelines
from gensr_dist.errors import InputError

_REJECTION_ROUNDS = 16  # then the few rows that are left, of users who met most items, choose from a list
_CELLS = 1 << 22  # row x draw, or row x item, pairs in memory at a time


@dataclass(frozen=True)
class Met:
    """The (user, item) pairs of a log: either behaviour, clicked or only shown."""

    key_K: np.ndarray  # int64, sorted: user * items + item
    user_start_V: np.ndarray  # int64 [V + 1] into key_K
    items: int

    @classmethod
    def from_timelines(cls, timelines: Timelines, users: int, items: int, split: Split | None = None) -> Self:
        """Collect the distinct pairs of one split, or of all."""
        key_N = timelines.user_N * items + timelines.item_N
        if split is not None:
            key_N = key_N[timelines.split_N == split]
        key_N = np.sort(key_N)  # np.unique hashes first, which is slower here
        key_K = key_N[np.diff(key_N, prepend=-1) != 0]
        return cls(key_K=key_K, user_start_V=np.searchsorted(key_K, np.arange(users + 1) * items), items=items)

    def contains(self, user_K: np.ndarray, item_K: np.ndarray) -> np.ndarray:
        """Whether each user met each item; arrays broadcast; bool."""
        key = np.asarray(user_K, dtype=np.int64) * self.items + np.asarray(item_K, dtype=np.int64)
        if not len(self.key_K):
            return np.zeros(key.shape, dtype=bool)
        at = np.searchsorted(self.key_K, key)
        return self.key_K[np.minimum(at, len(self.key_K) - 1)] == key

    def of_user(self, user: int) -> np.ndarray:
        """Items that one user met, ascending, int64."""
        return self.key_K[self.user_start_V[user] : self.user_start_V[user + 1]] - user * self.items


def sample_unmet(
    met: Met, user_R: np.ndarray, count: int, *, items: int, key: Sequence[int | np.ndarray]
) -> np.ndarray:
    """Draw `count` distinct items a row, uniformly among those its user never met.

    A row's draws are a hash of its key alone, so they do not depend on the other rows of the call, on ranks or workers.

    Args:
        met: pairs that are excluded; a row's positive is one of them.
        user_R: user of each row.
        count: draws a row, C.
        items: size of the catalogue.
        key: integers and int arrays [R] that together name the row, for example `(seed, epoch, row_R)`.

    Returns:
        uint32 [R, C].

    Raises:
        InputError: a user has met so many items that fewer than `count` are left.
    """
    user_R = np.asarray(user_R, dtype=np.int64)
    met_R = met.user_start_V[user_R + 1] - met.user_start_V[user_R]
    if len(met_R) and items - met_R.max() < count:
        raise InputError(
            "data",
            f"a user has met {met_R.max()} of {items} items, which leaves fewer than the {count} negatives asked for",
            "lower data.eval_negatives and data.train_negatives or bring a larger catalogue",
        )
    state_R = _hash_key(key, len(user_R))
    unmet_RC = np.empty((len(user_R), count), dtype=np.uint32)
    step = max(1, _CELLS // count)
    starts = range(0, len(user_R), step)
    for start in tqdm(starts, desc="draw negatives", unit="block", disable=None if len(starts) > 1 else True):
        rows = slice(start, start + step)
        unmet_RC[rows] = _sample(met, user_R[rows], state_R[rows], count)
    return unmet_RC


def _sample(met: Met, user_R: np.ndarray, state_R: np.ndarray, count: int) -> np.ndarray:
    """Rejection until nothing is pending, with a bound; int64 [R, C]."""
    item_RC = np.zeros((len(user_R), count), dtype=np.int64)
    pending_RC = np.ones((len(user_R), count), dtype=bool)
    open_R = np.arange(len(user_R))
    for attempt in range(_REJECTION_ROUNDS):
        _draw(met, user_R, state_R, item_RC, pending_RC, open_R, attempt)
        open_R = open_R[pending_RC[open_R].any(axis=1)]
        if not len(open_R):
            return item_RC
    _choose_from_list(met, user_R, state_R, item_RC, pending_RC, open_R)
    return item_RC


def _draw(
    met: Met,
    user_R: np.ndarray,
    state_R: np.ndarray,
    item_RC: np.ndarray,
    pending_RC: np.ndarray,
    open_R: np.ndarray,
    attempt: int,
) -> None:
    """Fill the pending places of the open rows; those that got a met or repeated item stay pending."""
    items, pending, count = item_RC[open_R], pending_RC[open_R], item_RC.shape[1]
    row, place = np.nonzero(pending)
    draw = _mix(state_R[open_R[row]] + np.uint64(1) + (attempt * count + place).astype(np.uint64))
    items[row, place] = (draw % np.uint64(met.items)).astype(np.int64)
    refused = np.zeros_like(pending)
    refused[row, place] = met.contains(user_R[open_R[row]], items[row, place])
    # Sorted by item, then settled before new, then place: in a run of equal items only the first stays.
    order_key = np.sort(items * (2 * count) + pending * count + np.arange(count), axis=1)
    repeated = np.zeros_like(pending)
    repeated[:, 1:] = order_key[:, 1:] // (2 * count) == order_key[:, :-1] // (2 * count)
    row, column = np.nonzero(repeated)
    refused[row, order_key[row, column] % count] = True
    item_RC[open_R], pending_RC[open_R] = items, refused


def _choose_from_list(
    met: Met,
    user_R: np.ndarray,
    state_R: np.ndarray,
    item_RC: np.ndarray,
    pending_RC: np.ndarray,
    open_R: np.ndarray,
) -> None:
    """Settle rows whose users met most items: rank all remaining items by a hash and take the first."""
    item_I, count = np.arange(met.items), item_RC.shape[1]
    for rows in np.array_split(open_R, max(1, len(open_R) * met.items // _CELLS)):
        rank_RI = _mix(_mix(state_R[rows])[:, None] ^ item_I.astype(np.uint64))
        taken_RI = met.contains(user_R[rows][:, None], item_I)
        row, place = np.nonzero(~pending_RC[rows])
        taken_RI[row, item_RC[rows][row, place]] = True
        rank_RI[taken_RI] = np.iinfo(np.uint64).max
        choice_RC = np.argsort(rank_RI, axis=1, kind="stable")[:, :count]
        settled = item_RC[rows]
        row, place = np.nonzero(pending_RC[rows])
        nth = (np.cumsum(pending_RC[rows], axis=1) - 1)[row, place]
        settled[row, place] = choice_RC[row, nth]
        item_RC[rows], pending_RC[rows] = settled, False


def _hash_key(key: Sequence[int | np.ndarray], rows: int) -> np.ndarray:
    """One uint64 a row from all parts of the key."""
    state_R = np.zeros(rows, dtype=np.uint64)
    for part in key:
        value = np.uint64(part & 0xFFFFFFFFFFFFFFFF) if isinstance(part, int) else np.asarray(part).astype(np.uint64)
        state_R = _mix((state_R + np.uint64(0x9E3779B97F4A7C15)) ^ value)
    return state_R


def _mix(value: np.ndarray) -> np.ndarray:
    """SplitMix64's finaliser (Steele, Lea and Flood 2014): a bijection of 64 bits with good avalanche."""
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))
