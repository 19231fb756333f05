"""Numbers of a batch's distinct items.

Dimensions: I items, K places of a batch that show one, U distinct ones.
"""

import threading

import numpy as np
from numpy.typing import NDArray

Int = NDArray[np.int64]


class SlotTable(threading.local):
    """Numbers distinct items without sorting them: 4 bytes an item, kept by each thread that asks.

    Args:
        items: size of the catalogue.
    """

    def __init__(self, items: int) -> None:
        # Never cleared: a batch reads only what it wrote. The last place belongs to the item -1 of padding.
        self.slot_I = np.empty(items + 1, dtype=np.int32)

    def number(self, item_K: Int, first: int) -> tuple[Int, NDArray[np.int32]]:
        """Number distinct items from `first` on; -1 is 0.

        Returns:
            item_U: the item of each number, int64 [U].
            slot_K: int32 [K].
        """
        place_K = np.arange(len(item_K), dtype=np.int32)
        self.slot_I[item_K] = place_K
        self.slot_I[-1] = -1
        item_U = item_K[self.slot_I[item_K] == place_K]
        self.slot_I[item_U] = np.arange(first, first + len(item_U), dtype=np.int32)
        self.slot_I[-1] = 0
        return item_U, self.slot_I[item_K]
