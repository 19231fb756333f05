"""Sparse vectors of items, and their dot products with a profile a row.

Dimensions: N vectors, I items, K features, R rows, L history, C candidates, M entries of all vectors.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

Float = NDArray[np.float64]
Int = NDArray[np.int64]


def counted(row_M: NDArray[np.integer], column_M: NDArray[np.integer], shape: tuple[int, int]) -> csr_array:
    """How often each (row, column) pair occurs, float64 of `shape`."""
    return csr_array((np.ones(len(row_M)), (row_M, column_M)), shape=shape)


def present(matrix_NK: csr_array) -> csr_array:
    """1 where the matrix has an entry; it must hold no explicit zeros."""
    return csr_array((np.ones(matrix_NK.nnz), matrix_NK.indices, matrix_NK.indptr), shape=matrix_NK.shape)


def squared_lengths(vector_NK: csr_array) -> Float:
    """Squared Euclidean length of each row, [N]."""
    row_M = np.repeat(np.arange(vector_NK.shape[0]), np.diff(vector_NK.indptr))
    square_N = np.bincount(row_M, weights=vector_NK.data**2, minlength=vector_NK.shape[0])
    return np.asarray(square_N, dtype=np.float64)


def unit_rows(vector_NK: csr_array) -> csr_array:
    """Each row divided by its length; rows of zeros stay."""
    length_N = np.sqrt(squared_lengths(vector_NK))
    scale_N = 1 / np.where(length_N > 0, length_N, 1)
    data_M = vector_NK.data * np.repeat(scale_N, np.diff(vector_NK.indptr))
    return csr_array((data_M, vector_NK.indices, vector_NK.indptr), shape=vector_NK.shape)


def weighted_histories(item_RL: Int, weight_RL: Float, items: int) -> csr_array:
    """Weights of the history entries as a matrix [R, I]; an item met twice has both; entries of -1 are padding."""
    real_RL = item_RL >= 0
    start_R = np.concatenate([[0], np.cumsum(real_RL.sum(axis=1))])
    return csr_array((weight_RL[real_RL], item_RL[real_RL], start_R), shape=(len(item_RL), items))


def candidate_dots(profile_RK: csr_array, vector_IK: csr_array, candidate_RC: Int) -> Float:
    """Dot product of each row's profile with its candidates, [R, C]: only their vectors are read, one row at a time."""
    dot_RC = np.zeros(candidate_RC.shape)
    profile_K = np.zeros(vector_IK.shape[1])
    for row, candidate_C in enumerate(candidate_RC):
        own = slice(profile_RK.indptr[row], profile_RK.indptr[row + 1])
        feature_M = profile_RK.indices[own]
        profile_K[feature_M] = profile_RK.data[own]
        dot_RC[row] = vector_IK[candidate_C] @ profile_K
        profile_K[feature_M] = 0
    return dot_RC
