"""A block of users' timelines as arrays, and the narrow members that stand for it in a tar.

`shards/README.md` is the specification. Dimensions: V users of the block, N their events, Q events with a query, R
evaluation rows, C negatives, W bytes of a row of coded negatives.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from gensr_dist.data.shards.elias_fano import decode_rows, encode_rows
from gensr_dist.data.timelines.rows import evaluation_rows
from gensr_dist.data.timelines.splits import Split
from gensr_dist.data.timelines.timelines import Timelines

# Members of a sample in the order of the tar: dtypes that may occur, number of dimensions.
_UP_TO_32_BITS = ("|u1", "<u2", "<u4")
_UP_TO_64_BITS = (*_UP_TO_32_BITS, "<u8")
MEMBERS: dict[str, tuple[tuple[str, ...], int]] = {
    "eval_negative": (("|u1",), 2),  # [R, W]
    "flags": (("|u1",), 1),  # [N]
    "header": (("<i8",), 1),  # [4] first time, unit of time, C, low bytes of a coded negative
    "item": (_UP_TO_32_BITS, 1),  # [N]
    "query": (_UP_TO_32_BITS, 1),  # [Q]
    "time": (_UP_TO_64_BITS, 1),  # [N] units after the first time
    "user_count": (_UP_TO_64_BITS, 1),  # [V] events of each user
}
_SEARCH, _POSITIVE, _SPLIT, _HAS_QUERY = 1, 2, 12, 16  # bits of a flag; the split is the number at bits 2 and 3
_LARGEST_INT64 = (1 << 63) - 1


@dataclass(frozen=True, kw_only=True)
class Block:
    """Some consecutive users. Positions count from the block's first event."""

    user_start: np.ndarray  # int64 [V + 1]
    item: np.ndarray  # uint32 [N]
    time: np.ndarray  # int64 [N], milliseconds, ascending within a user
    query: np.ndarray  # int32 [N], -1 for none
    behaviour: np.ndarray  # uint8 [N]
    positive: np.ndarray  # bool [N]
    split: np.ndarray  # uint8 [N]
    eval_negative: np.ndarray  # uint32 [R, C], items the user never met, ascending; one row a held-out positive event

    def __post_init__(self) -> None:
        """Refuse arrays that do not fit each other.

        Raises:
            ValueError: names the arrays.
        """
        events, start = len(self.item), self.user_start
        if any(len(getattr(self, name)) != events for name in ("time", "query", "behaviour", "positive", "split")):
            raise ValueError("event arrays differ in length")
        if not len(start) or start[0] != 0 or start[-1] != events:
            raise ValueError("user_start does not span the events")
        if (start[1:] < start[:-1]).any():
            raise ValueError("user_start decreases")
        falls = np.flatnonzero(self.time[1:] < self.time[:-1]) + 1
        if (start[np.searchsorted(start, falls)] != falls).any():
            raise ValueError("time falls within a user")
        if self.split.max(initial=0) > max(Split):
            raise ValueError("split is none of train, validation and test")
        if len(self.eval_negative) != np.count_nonzero(self.positive & (self.split != Split.TRAIN)):
            raise ValueError("evaluation rows and eval_negative differ in length")

    @property
    def users(self) -> int:
        """Number of users, V."""
        return len(self.user_start) - 1

    @cached_property
    def timelines(self) -> Timelines:
        """The same arrays without the negatives."""
        return Timelines(
            user_start_V=self.user_start,
            item_N=self.item,
            time_N=self.time,
            query_N=self.query,
            behaviour_N=self.behaviour,
            positive_N=self.positive,
            split_N=self.split,
        )

    @property
    def eval_event(self) -> np.ndarray:
        """Event of each evaluation row, int64 [R]."""
        return evaluation_rows(self.timelines)


def encode(block: Block) -> dict[str, np.ndarray]:
    """Members of a block, each in the narrowest dtype that holds its values."""
    origin = int(block.time.min(initial=_LARGEST_INT64)) if len(block.time) else 0
    since = block.time.astype(np.uint64) - np.int64(origin).astype(np.uint64)
    unit = max(1, int(np.gcd.reduce(since)) if len(since) else 1)
    has_query = block.query >= 0
    negative, low_bytes = encode_rows(block.eval_negative)
    flags = block.behaviour * _SEARCH + block.positive * _POSITIVE + (block.split << 2) + has_query * _HAS_QUERY
    return {
        "eval_negative": negative,
        "flags": flags.astype(np.uint8),
        "header": np.array([origin, unit, block.eval_negative.shape[1], low_bytes], dtype="<i8"),
        "item": _narrow(block.item),
        "query": _narrow(block.query[has_query]),
        "time": _narrow(since // np.uint64(unit)),
        "user_count": _narrow(np.diff(block.user_start)),
    }


def decode(members: Mapping[str, np.ndarray], *, negatives: bool = True) -> Block:
    """Invert `encode`.

    Args:
        members: arrays of the dtypes and dimensions in `MEMBERS`.
        negatives: leave them coded and out of the block (C = 0) if false.

    Raises:
        ValueError: no block gives these members.
    """
    if len(members["header"]) != 4:
        raise ValueError("header does not hold 4 numbers")
    origin, unit, count, low_bytes = members["header"].tolist()
    flags = members["flags"]
    events = len(flags)
    if (flags >= 2 * _HAS_QUERY).any():
        raise ValueError("flags hold unknown bits")
    has_query = (flags & _HAS_QUERY) != 0
    query_Q = members["query"]
    if np.count_nonzero(has_query) != len(query_Q) or query_Q.max(initial=0) > np.iinfo(np.int32).max:
        raise ValueError("query does not fit the flags")
    query = np.full(events, -1, dtype=np.int32)
    query[has_query] = query_Q

    user_count = members["user_count"]
    if user_count.max(initial=0) > events:
        raise ValueError("user_count does not span the events")
    user_start = np.zeros(len(user_count) + 1, dtype=np.int64)
    np.cumsum(user_count, out=user_start[1:])

    since = members["time"]
    if unit < 1 or origin + unit * int(since.max(initial=0)) > _LARGEST_INT64:
        raise ValueError("time is out of range")
    # Modulo 2 ** 64, as when it was written: the sum fits, as was just checked.
    time = (since * np.uint64(unit) + np.int64(origin).astype(np.uint64)).view(np.int64)

    coded_RW = members["eval_negative"]
    return Block(
        user_start=user_start,
        item=members["item"].astype(np.uint32),
        time=time,
        query=query,
        behaviour=flags & _SEARCH,
        positive=(flags & _POSITIVE) != 0,
        split=(flags & _SPLIT) >> 2,
        eval_negative=decode_rows(coded_RW, count, low_bytes)
        if negatives
        else np.zeros((len(coded_RW), 0), dtype=np.uint32),
    )


def _narrow(value: np.ndarray) -> np.ndarray:
    largest = int(value.max(initial=0))
    return value.astype(np.min_scalar_type(largest).newbyteorder("<"))
