"""Items that a user never saw, and a training row's negatives.

Dimensions: K pairs, R rows, C draws a row, V users, I items, D draws at a time, B bytes, A attempts of a draw, N
events, O rows with an open draw, X = R x C draws.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm
from typing_extensions import Self

from gensr_dist.data.config import DataConfig, check_negatives
from gensr_dist.data.hashing import Hash, Key, hash_key, mix
from gensr_dist.data.negatives.exposures import Exposures
from gensr_dist.data.negatives.popularity import PopularitySampler
from gensr_dist.data.negatives.query_items import QueryItems
from gensr_dist.data.sorted_keys import distinct, places
from gensr_dist.data.timelines.splits import Split
from gensr_dist.data.timelines.timelines import Timelines
from gensr_dist.errors import InputError

_REJECTION_ROUNDS = 32  # then the few rows that are left, of users who saw most of what is drawn, choose from a list
_DRAWS = 1 << 16  # at a time: what they need stays in the processor's cache
_CELLS = 1 << 22  # row x item pairs in memory at a time
_BITS = 16  # of the filter, for each pair, or up to twice as many
_EXPOSURES, _QUERIES = 0x73686F776E, 0x7175657279  # part the random numbers of hard negatives from the others'

Int = NDArray[np.int64]
Bool = NDArray[np.bool_]


@dataclass(frozen=True)
class SeenPairs:
    """The (user, item) pairs of a log: either behaviour, clicked or only shown."""

    key_K: np.ndarray  # int64, sorted: user * items + item
    user_start_V: np.ndarray  # int64 [V + 1] into key_K
    items: int

    @classmethod
    def from_timelines(cls, timelines: Timelines, items: int, split: Split | None = None) -> Self:
        """Collect the distinct pairs of one split, or of all."""
        key_N = timelines.user_N * items + timelines.item_N
        if split is not None:
            key_N = key_N[timelines.split_N == split]
        key_K = distinct(key_N)
        start_V = np.searchsorted(key_K, np.arange(timelines.users + 1) * items)
        return cls(key_K=key_K, user_start_V=start_V, items=items)

    @cached_property
    def filter_B(self) -> NDArray[np.uint8]:
        """A bit for the hash of each pair (Bloom 1970, one hash): most pairs that are not in `key_K` hit a zero.

        2 to 4 bytes a pair; built on first use, so processes that fork should use it before.
        """
        bits = max(3, (len(self.key_K) * _BITS - 1).bit_length())
        filter_B = np.zeros(1 << (bits - 3), dtype=np.uint8)
        at_K = _filter_bit(self.key_K, bits)
        np.bitwise_or.at(filter_B, at_K >> 3, np.uint8(1) << (at_K & 7).astype(np.uint8))
        return filter_B

    def contains(self, user_K: np.ndarray, item_K: np.ndarray) -> Bool:
        """Whether each user saw each item; arrays broadcast."""
        key = np.asarray(user_K, dtype=np.int64) * self.items + np.asarray(item_K, dtype=np.int64)
        at = _filter_bit(key, 2 + len(self.filter_B).bit_length())
        found = (self.filter_B[at >> 3] >> (at & 7).astype(np.uint8)) & np.uint8(1) != 0
        # Those that the filter lets through are few, and only they need the search, which misses the cache.
        found[found] = places(self.key_K, key[found]) >= 0
        return found

    def of_user(self, user: int) -> np.ndarray:
        """Items that one user saw, ascending, int64."""
        return self.key_K[self.user_start_V[user] : self.user_start_V[user + 1]] - user * self.items


def _filter_bit(key: np.ndarray, bits: int) -> Int:
    """Bit of each pair: Fibonacci hashing, the high bits of a product with 2^64 / golden ratio."""
    product = key.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    return (product >> np.uint64(64 - bits)).astype(np.int64)


def sample_unseen(
    seen: SeenPairs,
    user_R: np.ndarray,
    count: int,
    *,
    key: Key,
    popularity: PopularitySampler | None = None,
) -> NDArray[np.uint32]:
    """Draw `count` distinct items a row among those its user never saw.

    Items are drawn one after the other without putting back, each with equal chance or in proportion to its weight. A
    row's draws are a hash of its key alone, so they do not depend on the other rows of the call, on ranks or workers.

    Args:
        seen: pairs that are excluded; a row's positive is one of them.
        user_R: user of each row.
        count: draws a row, C.
        key: integers and int arrays [R] that together name the row, for example `(seed, epoch, row_R)`.
        popularity: weights of the items; uniform if None.

    Returns:
        uint32 [R, C].

    Raises:
        InputError: a user has seen so many items that fewer than `count` are left.
    """
    user_R = np.asarray(user_R, dtype=np.int64)
    item_RC = np.zeros((len(user_R), count), dtype=np.int64)
    pending_RC = np.ones(item_RC.shape, dtype=bool)
    _fill(seen, popularity, user_R, hash_key(key, len(user_R)), item_RC, pending_RC)
    return item_RC.astype(np.uint32)


class DrawnNegatives(NamedTuple):
    """Negatives of training rows."""

    item_RC: Int
    fits_query_RC: Bool  # drawn because it fits the row's query


@dataclass(frozen=True, kw_only=True)
class TrainingNegatives:
    """Draws the negatives of training rows."""

    count: int  # a row, C
    hard: int  # of them at most, from the positive's session
    popularity: PopularitySampler | None  # distribution of the others; uniform if None
    query_items: QueryItems | None = None
    fitting: int = 0  # of a search's negatives at most, from its query's list

    @classmethod
    def from_config(cls, config: DataConfig, count_I: np.ndarray, query_items: QueryItems | None = None) -> Self:
        """Read the settings `train_negatives`, `hard_negatives`, `query_negatives`, `negatives`, `popularity_power`.

        Args:
            config: settings.
            count_I: positive training events of each item in the whole log.
            query_items: needed where `query_negatives` is not 0.

        Raises:
            InputError: more hard negatives than negatives.
        """
        check_negatives(config)
        weighted = config.negatives == "popularity"
        return cls(
            count=config.train_negatives,
            hard=config.hard_negatives,
            popularity=PopularitySampler.from_counts(count_I, config.popularity_power) if weighted else None,
            query_items=query_items if config.query_negatives else None,
            fitting=config.query_negatives,
        )

    def log_chance(self, drawn: DrawnNegatives) -> NDArray[np.float32]:
        """Log of how much likelier each negative is drawn than by uniform draws, [R, C].

        Those that fit the query have infinity: they say nothing of how a uniform draw compares. Those from the
        positive's session are left out of account.
        """
        log_RC = np.zeros(drawn.item_RC.shape, dtype=np.float32)
        if self.popularity is not None:
            log_RC = self.popularity.log_chance_I[drawn.item_RC]
        return np.where(drawn.fits_query_RC, np.float32(np.inf), log_RC)

    def draw(
        self, seen: SeenPairs, exposures: Exposures | None, event_R: Int, user_R: Int, query_R: Int, *, key: Key
    ) -> DrawnNegatives:
        """Draw the negatives of training rows: first what the positive's session offers, last what fits its query.

        The others are items never seen.

        "Seen" and "clicked" are known from the training split: if held-out items were spared as negatives, that would
        give them away. A row's negatives are distinct and depend on its key, event and user alone.

        Args:
            seen: training pairs of the users, exposures among them (`Split.TRAIN`).
            exposures: of the same timelines; None only if `hard` is 0.
            event_R: position of each row's positive in those timelines.
            user_R: its user, a row of `seen`.
            query_R: its query, -1 for none.
            key: names the rows, `(seed, constant, epoch, global_row_R)`.

        Raises:
            InputError: a user has seen so many items that too few are left.
        """
        item_RC = np.full((len(event_R), self.count), -1, dtype=np.int64)
        if self.hard:
            assert exposures is not None, "hard negatives are drawn from exposures"
            item_RC[:, : self.hard] = exposures.sample(event_R, self.hard, (*key, _EXPOSURES))
        fits_RC = np.zeros(item_RC.shape, dtype=bool)
        if self.query_items is not None:
            drawn_RCA = self.query_items.sample(query_R, self.fitting, (*key, _QUERIES))
            for place in range(self.fitting):
                own_R = item_RC[:, self.count - self.fitting + place]  # a view
                for item_R in np.moveaxis(drawn_RCA[:, place], 1, 0):
                    taken_R = (item_RC == item_R[:, None]).any(axis=1) | seen.contains(user_R, np.maximum(item_R, 0))
                    own_R[:] = np.where((own_R < 0) & ~taken_R, item_R, own_R)
            fits_RC[:, self.count - self.fitting :] = item_RC[:, self.count - self.fitting :] >= 0
        _fill(seen, self.popularity, user_R, hash_key(key, len(user_R)), item_RC, item_RC < 0)
        return DrawnNegatives(item_RC, fits_RC)


def _fill(
    seen: SeenPairs, popularity: PopularitySampler | None, user_R: Int, state_R: Hash, item_RC: Int, pending_RC: Bool
) -> None:
    """Fill the pending places with unseen items that differ from each other and from the settled ones.

    Raises:
        InputError: a user has fewer unseen items than its row has pending places.
    """
    rows, count = item_RC.shape
    seen_R = seen.user_start_V[user_R + 1] - seen.user_start_V[user_R]
    if len(seen_R) and seen.items - seen_R.max() < count:  # rarely true, and cheaper than the exact question
        short = np.flatnonzero(seen.items - seen_R < pending_RC.sum(axis=1))
        if len(short):
            raise InputError(
                "data",
                f"a user has seen {seen_R[short].max()} of {seen.items} items, which leaves fewer than the {count} "
                "negatives asked for",
                "lower data.eval_negatives and data.train_negatives or bring a larger catalogue",
            )
    step = max(1, _DRAWS // max(count, 1))
    starts = range(0, rows, step)
    for start in tqdm(starts, desc="draw negatives", unit="block", disable=None if len(starts) > 64 else True):
        block = slice(start, start + step)
        _reject(seen, popularity, user_R[block], state_R[block], item_RC[block], pending_RC[block])


def _reject(
    seen: SeenPairs, popularity: PopularitySampler | None, user_R: Int, state_R: Hash, item_RC: Int, pending_RC: Bool
) -> None:
    """Fill pending places in place by rejection, with a bound.

    Draws go by attempt, then place, and one is accepted if it is unseen and new in its row: drawing without putting
    back exactly. Refused places try again.
    """
    count = item_RC.shape[1]
    item_X, pending_X = item_RC.reshape(-1), pending_RC.reshape(-1)  # views
    cell_D = np.flatnonzero(pending_X)
    for attempt in range(_REJECTION_ROUNDS):
        if not len(cell_D):
            return
        row_D = cell_D // count
        hash_D = mix(state_R[row_D] + (cell_D - row_D * count + attempt * count + 1).astype(np.uint64))
        draw_D = popularity.item_at(hash_D) if popularity else (hash_D % np.uint64(seen.items)).astype(np.int64)
        item_X[cell_D] = draw_D

        open_O = row_D[np.diff(row_D, prepend=-1) != 0]
        fresh_OC = pending_RC[open_O]
        pending_X[cell_D] = seen.contains(user_R[row_D], draw_D)
        item_OC = np.sort(item_RC[open_O], axis=1)
        again_O = (item_OC[:, 1:] == item_OC[:, :-1]).any(axis=1)  # rare in a large catalogue
        if again_O.any():
            pending_RC[open_O[again_O]] |= _repeated(item_RC[open_O[again_O]], fresh_OC[again_O])
        cell_D = cell_D[pending_X[cell_D]]
    open_O = np.unique(cell_D // count)
    for rows in np.array_split(open_O, max(1, len(open_O) * seen.items // _CELLS)):
        item_RC[rows] = _choose(seen, popularity, user_R[rows], state_R[rows], item_RC[rows], pending_RC[rows])


def _repeated(item_RC: Int, fresh_RC: Bool) -> Bool:
    """True where a row has the item already: settled before, or drawn now for an earlier place; [R, C]."""
    count = item_RC.shape[1]
    # Sorted by item, then settled before fresh, then place: in a run of equal items only the first stays.
    order_RC = np.sort(item_RC * (2 * count) + fresh_RC * count + np.arange(count), axis=1)
    row, column = np.nonzero(order_RC[:, 1:] // (2 * count) == order_RC[:, :-1] // (2 * count))
    repeated_RC = np.zeros_like(fresh_RC)
    repeated_RC[row, order_RC[row, column + 1] % count] = True
    return repeated_RC


def _choose(
    seen: SeenPairs, popularity: PopularitySampler | None, user_R: Int, state_R: Hash, item_RC: Int, pending_RC: Bool
) -> Int:
    """Settle rows whose users saw most of what is drawn, from the list of all items that are left; int64 [R, C].

    The items run a race with exponential times, whose order of arrival is that of drawing without putting back
    (Efraimidis and Spirakis 2006); with equal weights the uniform numbers themselves have that order.
    """
    item_I, count = np.arange(seen.items), item_RC.shape[1]
    uniform_RI = mix(mix(state_R)[:, None] ^ item_I.astype(np.uint64)) >> np.uint64(11)
    time_RI = (uniform_RI.astype(np.float64) + 0.5) * 2.0**-53
    if popularity is not None:
        time_RI = -np.log(time_RI) / popularity.weights()
    taken_RI = seen.contains(user_R[:, None], item_I)
    row, place = np.nonzero(~pending_RC)
    taken_RI[row, item_RC[row, place]] = True
    time_RI[taken_RI] = np.inf

    first_RC = np.argpartition(time_RI, count - 1, axis=1)[:, :count]
    order_RC = np.argsort(np.take_along_axis(time_RI, first_RC, axis=1), axis=1)
    choice_RC = np.take_along_axis(first_RC, order_RC, axis=1)
    settled_RC = item_RC.copy()
    nth_RC = np.cumsum(pending_RC, axis=1) - 1
    row, place = np.nonzero(pending_RC)
    settled_RC[row, place] = choice_RC[row, nth_RC[row, place]]
    return settled_RC
