"""Training users' interactions in order, and where each item was met last: what the channel of like users reads.

Dimensions: V users, I items, M interactions of all users, N of them that are listed by item.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

from gensr_dist.data.sparse_vectors import Int
from gensr_dist.storage.arrays import open_array

NEWEST = 500  # interactions listed of an item: the work of a request does not grow with the log
_REMEDY = "run `gensr channels` again"
FILES = tuple(f"sessions_{part}.npy" for part in ("starts", "items", "met_starts", "met"))


@dataclass(frozen=True, kw_only=True)
class Sessions:
    """Each user's items, every one where it was met first, and the newest of these places by item; mapped."""

    start_V: NDArray[np.integer]  # [V + 1] into item_M; V is the number of the last user with an interaction, and one
    item_M: NDArray[np.uint32]  # in order of time
    met_start_I: NDArray[np.integer]  # [I + 1] into met_N
    met_N: NDArray[np.integer]  # places in item_M

    @classmethod
    def of(cls, user_M: Int, item_M: Int, time_M: Int, items: int, *, newest: int = NEWEST) -> Self:
        """Sort training events.

        Args:
            user_M: users of the training events, ascending.
            item_M: their items, in order of time. Of an item that a user met again only the first time counts.
            time_M: when.
            items: I.
            newest: interactions listed of an item, those of the latest time; of equal times the later ones.
        """
        _, first_M = np.unique(user_M * items + item_M, return_index=True)
        first_M.sort()
        user_M, item_M, time_M = user_M[first_M], item_M[first_M], time_M[first_M]
        count_I = np.bincount(item_M, minlength=items)
        place_M = np.lexsort((time_M, item_M))  # of one item side by side, by time
        after_M = np.repeat(np.cumsum(count_I), count_I) - np.arange(len(item_M))  # 1 for the newest of an item
        return cls(
            start_V=_starts(np.bincount(user_M)),
            item_M=item_M.astype(np.uint32),
            met_start_I=_starts(np.minimum(count_I, newest)),
            met_N=_small(place_M[after_M <= newest], len(item_M)),
        )

    def with_more_items(self, items: int) -> "Sessions":
        """The same over a catalogue of `items`, the new ones of which nobody met; interactions are not copied."""
        more = items + 1 - len(self.met_start_I)
        return dataclasses.replace(self, met_start_I=np.pad(self.met_start_I, (0, more), mode="edge"))

    def save(self, folder: Path) -> None:
        """Write FILES into an existing folder."""
        arrays = (self.start_V, self.item_M, self.met_start_I, self.met_N)
        for name, array in zip(FILES, arrays, strict=True):
            np.save(folder / name, array, allow_pickle=False)

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Map what `save` wrote."""
        start_V, item_M, met_start_I, met_N = (open_array(folder / name, _REMEDY) for name in FILES)
        return cls(start_V=start_V, item_M=item_M, met_start_I=met_start_I, met_N=met_N)


def _starts(count_N: Int) -> NDArray[np.integer]:
    return _small(np.concatenate([[0], np.cumsum(count_N)]), int(count_N.sum()))


def _small(value_N: Int, most: int) -> NDArray[np.integer]:
    """The same numbers, in 4 bytes each where none is above `most` and that fits."""
    return value_N.astype(np.uint32 if most <= np.iinfo(np.uint32).max else np.int64)
