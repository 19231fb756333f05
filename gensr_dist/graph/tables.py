"""Tables of vectors that ranks own by columns, on disk as one npy file with all columns, written and read by chunks.

Dimensions: N rows, C rows of a chunk, E width, e columns of this rank.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from torch import Tensor, from_numpy

from gensr_dist.errors import InputError
from gensr_dist.graph.ranks import ColumnRanks

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
    with path.open("wb") as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": (len(table_Ne), width)}
        np.lib.format.write_array_header_1_0(file, header)
        for start, rows_CE in _chunks(table_Ne, ranks):
            if kept_N is not None:
                rows_CE = np.where(kept_N[start : start + len(rows_CE), None], rows_CE, np.float32(0))
            file.write(rows_CE.data)


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


def _chunks(table_Ne: Tensor, ranks: ColumnRanks) -> Iterator[tuple[int, np.ndarray]]:
    """First row and all columns of each chunk, on the first rank."""
    for start in range(0, len(table_Ne), ROWS_AT_ONCE):
        rows_CE = ranks.rows_at_first(table_Ne[start : start + ROWS_AT_ONCE])
        assert rows_CE is not None
        yield start, np.ascontiguousarray(rows_CE.cpu().numpy())
