"""Items that fit a query of the log, as hard negatives of its searches.

Dimensions: Q queries of the log, M listed items of all queries, R rows, C draws a row, A attempts of a draw.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

from gensr_dist.data.hashing import Key, hash_key, mix
from gensr_dist.errors import InputError
from gensr_dist.storage.arrays import open_array

STARTS, ITEMS = "query_items_starts.npy", "query_items.npy"
_ATTEMPTS = 4  # at each place; a place whose draws were all refused gets another kind of negative

Int = NDArray[np.int64]


@dataclass(frozen=True)
class QueryItems:
    """For each query the items that its words, or searches like it, lead to; mapped."""

    start_Q: NDArray[np.int64]  # [Q + 1] into item_M
    item_M: NDArray[np.uint32]

    @classmethod
    def open(cls, folder: Path, queries: int, items: int) -> Self:
        """Map what `save` wrote.

        Args:
            folder: of the channels.
            queries: Q of the log.
            items: of the catalogue.

        Raises:
            InputError: a file is missing, or of another log.
        """
        remedy = "run `gensr channels`"
        start_Q, item_M = (open_array(folder / name, remedy) for name in (STARTS, ITEMS))
        if len(start_Q) != queries + 1 or start_Q[-1] != len(item_M) or (len(item_M) and item_M.max() >= items):
            raise InputError(folder / STARTS, f"not the lists of {queries} queries over {items} items", remedy)
        return cls(start_Q, item_M)

    def save(self, folder: Path) -> None:
        """Write both arrays into an existing folder."""
        np.save(folder / STARTS, self.start_Q, allow_pickle=False)
        np.save(folder / ITEMS, self.item_M, allow_pickle=False)

    def sample(self, query_R: Int, count: int, key: Key) -> Int:
        """Draw items of the rows' lists, each equally likely, with repeats.

        Args:
            query_R: rows of the queries, -1 for none.
            count: places a row, C.
            key: names the rows; a row's draws depend on its own key and list alone.

        Returns:
            int64 [R, C, A], the draws of each place in the order of the attempts; -1 where there is no list.
        """
        asked_R = np.maximum(query_R, 0)
        if len(self.start_Q) < 2:
            return np.full((len(query_R), count, _ATTEMPTS), -1, dtype=np.int64)
        start_R = np.asarray(self.start_Q[asked_R])
        size_R = np.where(query_R >= 0, np.asarray(self.start_Q[asked_R + 1]) - start_R, 0)
        draw_CA = np.arange(1, count * _ATTEMPTS + 1, dtype=np.uint64).reshape(count, _ATTEMPTS)
        hash_RCA = mix(hash_key(key, len(query_R))[:, None, None] + draw_CA)
        bound_R = np.maximum(size_R, 1).astype(np.uint64)
        place_RCA = start_R[:, None, None] + (hash_RCA % bound_R[:, None, None]).astype(np.int64)
        listed_RCA = np.broadcast_to((size_R > 0)[:, None, None], place_RCA.shape)
        item_RCA = np.full(place_RCA.shape, -1, dtype=np.int64)
        item_RCA[listed_RCA] = self.item_M[place_RCA[listed_RCA]]
        return item_RCA
