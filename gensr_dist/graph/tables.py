"""Tables of vectors that ranks own by columns, on disk as one npy file with all columns, written and read by chunks.

Dimensions: N rows, C rows of a chunk, E width, e columns of this rank.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from torch import Tensor, from_numpy

from gensr_dist.errors import InputError
from gensr_dist.graph.ranks import ColumnRanks
from gensr_dist.storage.arrays import write_rows

ROWS_AT_ONCE = 1 << 16


def write_table(path: Path, table_Ne: Tensor, ranks: ColumnRanks, width: int, kept_N: np.ndarray | None = None) -> None:
    """Write float32 [N, E]; every rank must call it, the first one writes.

    Args:
        path: of the npy file.
        table_Ne: this rank's columns.
        ranks: who owns which columns.
        width: E.
        kept_N: bool; other rows become zero.
    """
    if not ranks.first:
        for part_Ce in table_Ne.split(ROWS_AT_ONCE):
            ranks.rows_at_first(part_Ce)
        return
    write_rows(path, (len(table_Ne), width), _chunks(table_Ne, ranks, kept_N))


def read_columns(path: Path, table_Ne: Tensor, columns: slice, width: int, remedy: str) -> None:
    """Fill a rank's columns from a file of `write_table`, without mapping the file into memory.

    Raises:
        InputError: the file cannot be read, or holds another table.
    """
    try:
        with path.open("rb") as file:
            np.lib.format.read_magic(file)
            shape, by_columns, dtype = np.lib.format.read_array_header_1_0(file)
            if shape != (len(table_Ne), width) or by_columns or dtype != np.float32:
                raise ValueError(f"expected float32 {(len(table_Ne), width)}, found {dtype} {shape}")
            for part_Ce in table_Ne.split(ROWS_AT_ONCE):
                rows_X = np.fromfile(file, dtype=np.float32, count=len(part_Ce) * width)
                part_Ce.copy_(from_numpy(rows_X.reshape(len(part_Ce), width)[:, columns]))
    except (OSError, ValueError) as error:
        raise InputError(path, f"the table cannot be read ({error})", remedy) from error


def _chunks(table_Ne: Tensor, ranks: ColumnRanks, kept_N: np.ndarray | None) -> Iterator[np.ndarray]:
    """All columns of each chunk, on the first rank."""
    for start in range(0, len(table_Ne), ROWS_AT_ONCE):
        rows_CE = ranks.rows_at_first(table_Ne[start : start + ROWS_AT_ONCE])
        assert rows_CE is not None
        row_CE = rows_CE.cpu().numpy()
        yield row_CE if kept_N is None else np.where(kept_N[start : start + len(row_CE), None], row_CE, np.float32(0))
