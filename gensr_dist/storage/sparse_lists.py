"""Lists of items with weights, one a row: built a block of rows at a time, saved as arrays, mapped from disk.

Dimensions: N rows, K columns, M entries.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from scipy.sparse import csr_array, vstack

from gensr_dist.storage.arrays import open_array

PARTS = ("starts", "columns", "weights")  # files of a saved matrix: NAME_PART.npy


def float32_rows(matrix_NK: csr_array) -> csr_array:
    """The same entries as float32 with the smallest integers: lists are saved so, and multiplied without a copy."""
    matrix_NK = csr_array(matrix_NK)
    place = np.int32 if matrix_NK.nnz <= np.iinfo(np.int32).max else np.int64  # scipy wants both alike
    parts = (
        matrix_NK.data.astype(np.float32, copy=False),
        matrix_NK.indices.astype(place, copy=False),
        matrix_NK.indptr.astype(place, copy=False),
    )
    return csr_array(parts, shape=matrix_NK.shape)


def heaviest(matrix_NK: csr_array, most: int) -> csr_array:
    """Each row's `most` entries of highest weight, equal ones in the order of columns; columns ascend in each row.

    A long row costs a partition; what is left of it is sorted.
    """
    keep_M = np.ones(matrix_NK.nnz, dtype=bool)
    for row in np.flatnonzero(np.diff(matrix_NK.indptr) > most).tolist():
        own = slice(matrix_NK.indptr[row], matrix_NK.indptr[row + 1])
        weight_K = matrix_NK.data[own]
        limit = np.partition(weight_K, len(weight_K) - most)[-most]
        above_K, equal_K = weight_K > limit, np.flatnonzero(weight_K == limit)
        missing = most - np.count_nonzero(above_K)
        above_K[equal_K[np.argsort(matrix_NK.indices[own][equal_K], kind="stable")[:missing]]] = True
        keep_M[own] = above_K
    before_M = np.concatenate([[0], np.cumsum(keep_M)])
    start_N = before_M[matrix_NK.indptr]
    kept_NK = csr_array((matrix_NK.data[keep_M], matrix_NK.indices[keep_M], start_N), shape=matrix_NK.shape)
    kept_NK.sort_indices()
    return kept_NK


def stacked(blocks: Iterable[csr_array], columns: int) -> csr_array:
    """Blocks of consecutive rows as one float32 matrix."""
    parts = [float32_rows(block) for block in blocks]
    if not parts:
        return csr_array((0, columns), dtype=np.float32)
    return float32_rows(vstack(parts, format="csr"))


def save_lists(folder: Path, name: str, matrix_NK: csr_array) -> None:
    """Write the three arrays of a matrix and its width."""
    matrix_NK = float32_rows(matrix_NK)
    for part, array in zip(PARTS, (matrix_NK.indptr, matrix_NK.indices, matrix_NK.data), strict=True):
        np.save(folder / f"{name}_{part}.npy", array, allow_pickle=False)


def open_lists(folder: Path, name: str, columns: int, remedy: str) -> csr_array:
    """Map a saved matrix; rows are read from disk as they are used.

    Args:
        folder: that `save_lists` wrote to.
        name: of the matrix.
        columns: K.
        remedy: where a file is missing or broken.

    Raises:
        InputError: one is.
    """
    start_N, column_M, weight_M = (open_array(folder / file, remedy) for file in list_files(name))
    return csr_array((weight_M, column_M, start_N), shape=(len(start_N) - 1, columns))


def enlarged(matrix_NK: csr_array, shape: tuple[int, int]) -> csr_array:
    """The same with empty rows and columns behind its own; entries are not copied."""
    larger_NK = csr_array(matrix_NK)  # shares the arrays, of which `resize` replaces the starts
    larger_NK.resize(*shape)
    return larger_NK


def list_files(name: str) -> tuple[str, ...]:
    """File names of a saved matrix."""
    return tuple(f"{name}_{part}.npy" for part in PARTS)
