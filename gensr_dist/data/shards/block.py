"""A block of users' timelines as arrays, and the narrow members that stand for it in a tar.

`shards/README.md` is the specification. Dimensions: V users of the block, N their events, Q events with a query, R
evaluation rows, C negatives, W bytes of a row of coded negatives.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from gensr_dist.data.shards.elias_fano import decode_rows, encode_rows
from gensr_dist.data.timelines.rows import evaluation_rows
from gensr_dist.data.timelines.splits import Split
from gensr_dist.data.timelines.timelines import COLUMNS, Timelines

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


@dataclass(frozen=True)
class Block:
    """Some consecutive users; users and events count from the block's first."""

    timelines: Timelines
    eval_negative_RC: np.ndarray  # uint32, items the user never saw, ascending; one row a held-out positive event

    def __post_init__(self) -> None:
        """Refuse arrays that do not fit each other.

        Raises:
            ValueError: names the arrays.
        """
        timelines, start_V, time_N = self.timelines, self.timelines.user_start_V, self.timelines.time_N
        if any(len(getattr(timelines, name)) != len(time_N) for name in COLUMNS):
            raise ValueError("event arrays differ in length")
        if not len(start_V) or start_V[0] != 0 or start_V[-1] != len(time_N):
            raise ValueError("user_start does not span the events")
        if (start_V[1:] < start_V[:-1]).any():
            raise ValueError("user_start decreases")
        falls = np.flatnonzero(time_N[1:] < time_N[:-1]) + 1
        if (start_V[np.searchsorted(start_V, falls)] != falls).any():
            raise ValueError("time falls within a user")
        if timelines.split_N.max(initial=0) > max(Split):
            raise ValueError("split is none of train, validation and test")
        if len(self.eval_negative_RC) != len(self.eval_event_R):
            raise ValueError("evaluation rows and eval_negative differ in length")

    @property
    def eval_event_R(self) -> np.ndarray:
        """Event of each evaluation row, int64."""
        return evaluation_rows(self.timelines)


def encode(block: Block) -> dict[str, np.ndarray]:
    """Members of a block, each in the narrowest dtype that holds its values."""
    events = block.timelines
    origin = int(events.time_N.min(initial=_LARGEST_INT64)) if len(events.time_N) else 0
    since = events.time_N.astype(np.uint64) - np.int64(origin).astype(np.uint64)
    unit = max(1, int(np.gcd.reduce(since)) if len(since) else 1)
    has_query = events.query_N >= 0
    negative, low_bytes = encode_rows(block.eval_negative_RC)
    flags = events.behaviour_N * _SEARCH + events.positive_N * _POSITIVE + (events.split_N << 2)
    flags += has_query * _HAS_QUERY
    return {
        "eval_negative": negative,
        "flags": flags.astype(np.uint8),
        "header": np.array([origin, unit, block.eval_negative_RC.shape[1], low_bytes], dtype="<i8"),
        "item": _narrow(events.item_N),
        "query": _narrow(events.query_N[has_query]),
        "time": _narrow(since // np.uint64(unit)),
        "user_count": _narrow(np.diff(events.user_start_V)),
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
    timelines = Timelines(
        user_start_V=user_start,
        item_N=members["item"].astype(np.uint32),
        time_N=time,
        query_N=query,
        behaviour_N=flags & _SEARCH,
        positive_N=(flags & _POSITIVE) != 0,
        split_N=(flags & _SPLIT) >> 2,
    )
    none_RC = np.zeros((len(coded_RW), 0), dtype=np.uint32)
    return Block(timelines, decode_rows(coded_RW, count, low_bytes) if negatives else none_RC)


def _narrow(value: np.ndarray) -> np.ndarray:
    largest = int(value.max(initial=0))
    return value.astype(np.min_scalar_type(largest).newbyteorder("<"))
