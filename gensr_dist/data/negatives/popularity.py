"""Items drawn in proportion to a power of their popularity.

Dimensions: I items, T tiers (items of the same count), K draws.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

from gensr_dist.data.hashing import Hash

_ONE = 1 << 20  # weights are integers in units of 1 / _ONE, so that draws are exact and alike on every machine


@dataclass(frozen=True)
class PopularitySampler:
    """Weights (count + 1) ** power of all items, ready to be drawn from.

    Items of one count have one weight, so the inverse of the distribution is a search among the tiers, of which a log
    of N events has fewer than sqrt(2 N), and a division: 4 bytes an item, and no table that is built item by item.
    """

    item_I: np.ndarray  # uint32, ascending by count, then by item
    first_T: np.ndarray  # int64 [T + 1] into item_I
    weight_T: np.ndarray  # int64, above 0
    end_T: np.ndarray  # int64, weight of this tier's items and all before it

    @classmethod
    def from_counts(cls, count_I: np.ndarray, power: float) -> Self:
        """Weigh the items.

        Args:
            count_I: positive training events of each item in the whole log, not negative.
            power: 0 is uniform, 1 in proportion to count + 1; between them the head is drawn less often (Mikolov et
                al. 2013 use 0.75).
        """
        item_I = np.argsort(count_I, kind="stable").astype(np.uint32)
        count_T, first_T = np.unique(count_I[item_I], return_index=True)
        weight_T = np.rint((count_T + 1.0) ** power * _ONE).astype(np.int64)
        first_T = np.append(first_T, len(item_I))
        return cls(item_I=item_I, first_T=first_T, weight_T=weight_T, end_T=np.cumsum(weight_T * np.diff(first_T)))

    def item_at(self, hash_K: Hash) -> np.ndarray:
        """Item of each random number by inverse of the distribution; int64, any shape."""
        at_K = (hash_K % np.uint64(self.end_T[-1])).astype(np.int64)
        tier_K = np.searchsorted(self.end_T, at_K, side="right")
        # A tier's end is known and its weight is even, so the place in it needs no search.
        from_end_K = (self.end_T[tier_K] - 1 - at_K) // self.weight_T[tier_K]
        return self.item_I[self.first_T[tier_K + 1] - 1 - from_end_K].astype(np.int64)

    @cached_property
    def log_chance_I(self) -> NDArray[np.float32]:
        """Log of each item's chance times the number of items."""
        log_T = np.log(self.weight_T) - np.log(self.end_T[-1] / len(self.item_I))
        log_chance_I = np.empty(len(self.item_I), dtype=np.float32)
        log_chance_I[self.item_I] = np.repeat(log_T, np.diff(self.first_T))
        return log_chance_I

    def weights(self) -> np.ndarray:
        """Weight of each item, int64 [I]; proportional to its chance."""
        weight_I = np.empty(len(self.item_I), dtype=np.int64)
        weight_I[self.item_I] = np.repeat(self.weight_T, np.diff(self.first_T))
        return weight_I
