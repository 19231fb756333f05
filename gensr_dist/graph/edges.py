"""Edges of the user-item graph and negatives for them.

Dimensions: N events, M events or edges of a selection, Z edges, B users of a step, V users, I items.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from typing_extensions import Self

from gensr_dist.data.events import Behaviour
from gensr_dist.data.sorted_keys import places, ranges
from gensr_dist.data.timelines.splits import Split
from gensr_dist.data.timelines.timelines import Timelines


@dataclass(frozen=True, kw_only=True)
class Edges:
    """Distinct user-item pairs, sorted by user, then item."""

    key_Z: np.ndarray  # int64: user * items + item
    users: int
    items: int

    @classmethod
    def of_recommendations(
        cls, timelines: Timelines, split: Split, *, users: int, items: int, first_user: int = 0
    ) -> Self:
        """Positive recommendation events of one split, each pair once; `first_user` is user 0 of the timelines."""
        kept_N = timelines.positive_N & (timelines.split_N == split)
        kept_N &= timelines.behaviour_N == Behaviour.RECOMMENDATION
        event_M = np.flatnonzero(kept_N)
        key_M = (timelines.user_of(event_M) + first_user) * items
        key_M += timelines.item_N[event_M]
        return cls(key_Z=np.unique(key_M), users=users, items=items)

    def __len__(self) -> int:
        return len(self.key_Z)

    @property
    def user_Z(self) -> np.ndarray:
        """int64."""
        return self.key_Z // self.items

    @property
    def item_Z(self) -> np.ndarray:
        """int64."""
        return self.key_Z % self.items

    def digest(self) -> str:
        """SHA-256 of the graph; equal edges give equal digests."""
        return hashlib.sha256(f"{self.users} {self.items} ".encode() + self.key_Z.data).hexdigest()

    def contain(self, user: np.ndarray, item: np.ndarray) -> np.ndarray:
        """Whether each pair is an edge; int64 arrays that broadcast; bool."""
        return places(self.key_Z, user * self.items + item) >= 0

    def of_users(self, user_B: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Items of several users: (place in `user_B`, item), both int64, one entry an edge."""
        start_B = np.searchsorted(self.key_Z, user_B * self.items)
        count_B = np.searchsorted(self.key_Z, (user_B + 1) * self.items) - start_B
        return np.repeat(np.arange(len(user_B)), count_B), self.key_Z[ranges(start_B, count_B)] % self.items

    def sample_negatives(self, user_B: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """One uniform item [B] int64 a user that is no edge of it.

        Every user must have such an item; redrawing then ends with probability 1.
        """
        negative_B = rng.integers(0, self.items, len(user_B))
        (met_K,) = np.nonzero(self.contain(user_B, negative_B))
        while len(met_K):
            negative_B[met_K] = rng.integers(0, self.items, len(met_K))
            met_K = met_K[self.contain(user_B[met_K], negative_B[met_K])]
        return negative_B


def recommendation_edges(windows: Iterable[tuple[int, Timelines]], *, users: int, items: int) -> tuple[Edges, Edges]:
    """Training and validation edges of a log, in one pass over its windows.

    Args:
        windows: the users' timelines by ascending users: (row of the window's first user, its timelines).
        users: number of users V.
        items: number of items I.
    """
    splits = (Split.TRAIN, Split.VALID)
    keys: dict[Split, list[np.ndarray]] = {split: [np.empty(0, dtype=np.int64)] for split in splits}
    for first_user, timelines in windows:
        for split in splits:
            found = Edges.of_recommendations(timelines, split, users=users, items=items, first_user=first_user)
            keys[split].append(found.key_Z)
    train, valid = (Edges(key_Z=np.concatenate(keys.pop(split)), users=users, items=items) for split in splits)
    return train, valid
