"""CF vectors of the items: of the whole graph, and of the graph without each part of its users.

Whoever is asked for an edge must not have seen it: training rows read the vectors that were learnt without their user.

Dimensions: I items, E width, G groups, U rows that are read, C rows of a block.
"""

import hashlib
import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gensr_dist.data.folds import fold_of_users

Table = NDArray[np.float32]
WHOLE = -1  # in place of a fold: the whole graph

ROWS_AT_ONCE = 65_536


@dataclass(frozen=True)
class ItemVectors:
    """Tables of one catalogue, float32 [I, E] each, usually mapped."""

    whole_IE: Table  # what validation, test, index and answers read
    without_fold: tuple[Table, ...] = ()  # what training rows of each fold's users read; none: they read the whole
    seed: int = 0  # of the folds

    def __len__(self) -> int:
        """Size of the catalogue, I."""
        return len(self.whole_IE)

    @property
    def width(self) -> int:
        """E."""
        return self.whole_IE.shape[1]

    @property
    def folds(self) -> int:
        """Parts of the users; 0 where training rows read the whole graph's vectors."""
        return len(self.without_fold)

    def fold_of(self, user_G: NDArray[np.int64]) -> NDArray[np.int64]:
        """Whose table the training rows of these users read, int64 [G]; WHOLE without folds."""
        if not self.folds:
            return np.full(len(user_G), WHOLE)
        return fold_of_users(user_G, self.folds, self.seed)

    def take(self, fold: int, item_U: NDArray[np.int64], out_UE: Table) -> None:
        """Copy rows of one table, that of a fold or of WHOLE, into `out_UE`."""
        # Mode `clip` alone writes without a buffer; `take` is 2 to 5 times as fast as []. A plain view, since whatever
        # is taken from a np.memmap is wrapped into one again.
        np.asarray(self._table(fold)).take(item_U, axis=0, out=out_UE, mode="clip")

    def digest(self) -> str:
        """SHA-256 of all tables and of how users are parted."""
        digest = hashlib.sha256()
        for table_IE in (self.whole_IE, *self.without_fold):
            for rows_CE in row_blocks(table_IE):
                digest.update(rows_CE.data)
        if self.folds:
            digest.update(f"{self.folds} folds of seed {self.seed}".encode())
        return digest.hexdigest()

    def unit_scale(self) -> float:
        """The factor that brings the whole graph's table to a mean square of one."""
        squares = sum(float(np.square(rows_CE).sum(dtype=np.float64)) for rows_CE in row_blocks(self.whole_IE))
        return 1 / max(1e-12, (squares / max(1, self.whole_IE.size)) ** 0.5)

    def _table(self, fold: int) -> Table:
        return self.whole_IE if fold == WHOLE else self.without_fold[fold]


def row_blocks(table_IE: Table, rows: int = ROWS_AT_ONCE) -> Iterator[Table]:
    """The rows of a table in order, block by block [C, E].

    Of a mapped one the file is read and not the mapping, whose pages would count as memory of this process.
    """
    if isinstance(table_IE, np.memmap) and isinstance(table_IE.base, mmap.mmap) and table_IE.flags.c_contiguous:
        with Path(str(table_IE.filename)).open("rb") as file:
            file.seek(table_IE.offset)
            for start in range(0, len(table_IE), rows):
                count = min(rows, len(table_IE) - start)
                value_X = np.fromfile(file, table_IE.dtype, count * table_IE.shape[1])
                yield value_X.reshape(count, table_IE.shape[1])
        return
    for start in range(0, len(table_IE), rows):
        yield np.ascontiguousarray(table_IE[start : start + rows])
