"""Bringing the vectors of one training onto those of another: the orthogonal Procrustes problem (Schoenemann 1966).

Two trainings agree on angles, not on axes. Where training rows read one table and test rows another, axes and lengths
must mean the same in both.

Dimensions: I items, E width, C rows of a block.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

from gensr_dist.data.item_vectors import ROWS_AT_ONCE, Table, row_blocks


@dataclass(frozen=True)
class ProcrustesAlignment:
    """A rotation (or reflection) and a factor."""

    rotation_EE: NDArray[np.float64]
    scale: float

    @classmethod
    def onto(cls, goal_IE: Table, table_IE: Table) -> Self:
        """The rotation that brings `table_IE` nearest to `goal_IE`, and the factor that gives it the same mean square.

        Only items with a vector in both tables count: zero rows say nothing of axes or lengths.
        """
        width = goal_IE.shape[1]
        product_EE, goal_square, table_square = np.zeros((width, width)), 0.0, 0.0
        for goal_CE, table_CE in _blocks(goal_IE, table_IE):
            both_C1 = goal_CE.any(axis=1, keepdims=True) & table_CE.any(axis=1, keepdims=True)
            goal_CE, table_CE = goal_CE * both_C1, table_CE * both_C1
            product_EE += table_CE.T @ goal_CE
            goal_square += float(np.square(goal_CE).sum())
            table_square += float(np.square(table_CE).sum())
        left_EE, _, right_EE = np.linalg.svd(product_EE)
        scale = (goal_square / table_square) ** 0.5 if goal_square and table_square else 1.0
        return cls(left_EE @ right_EE, scale)

    def aligned(self, table_IE: Table) -> Iterator[Table]:
        """The aligned rows of a table, block by block; zero rows stay zero."""
        aligning_EE = self.rotation_EE * self.scale
        for rows_CE in row_blocks(table_IE):
            yield (rows_CE.astype(np.float64) @ aligning_EE).astype(np.float32)


def _blocks(goal_IE: Table, table_IE: Table) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    blocks = zip(row_blocks(goal_IE, ROWS_AT_ONCE), row_blocks(table_IE, ROWS_AT_ONCE), strict=True)
    return ((goal_CE.astype(np.float64), table_CE.astype(np.float64)) for goal_CE, table_CE in blocks)
