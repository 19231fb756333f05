"""Training searches of one user that ended at one item more than once: what a row is told must leave out all of them.

Dimensions: S searches, P pairs of a user and an item with several of them, R these searches, Z rows, Y pairs that rows
meet.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

from gensr_dist.data.sorted_keys import places, ranges

Int = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class RepeatedSearches:
    """Few in most logs; usually mapped."""

    pair_P: Int  # user x items + item, ascending
    start_P: Int  # [P + 1] into query_R
    query_R: Int

    @classmethod
    def among(cls, pair_S: Int, query_S: Int) -> Self:
        """Those training searches, of all with a query, whose pair occurs more than once."""
        order_S = np.argsort(pair_S, kind="stable")
        pair_S, query_S = pair_S[order_S], query_S[order_S]
        pair_P, count_P = np.unique(pair_S, return_counts=True)
        several_P = count_P > 1
        return cls(
            pair_P=pair_P[several_P],
            start_P=np.concatenate([[0], np.cumsum(count_P[several_P])]),
            query_R=query_S[np.repeat(several_P, count_P)],
        )

    def queries_of(self, pair_Z: Int, query_Z: Int) -> tuple[Int, Int]:
        """Queries of all searches with the pair of each row, of which the row itself is one.

        Args:
            pair_Z: user x items + item.
            query_Z: the row's own query; rows of -1 have none.

        Returns:
            Row and query of each search.
        """
        row_Z = np.flatnonzero(query_Z >= 0)
        place_Z = places(self.pair_P, pair_Z[row_Z])
        several_Z = place_Z >= 0
        start_Y, end_Y = (np.asarray(self.start_P[place_Z[several_Z] + one]) for one in (0, 1))
        length_Y = end_Y - start_Y
        place_R = ranges(start_Y, length_Y)
        row_R = np.repeat(row_Z[several_Z], length_Y)
        alone_Z = row_Z[~several_Z]
        return np.concatenate([alone_Z, row_R]), np.concatenate([query_Z[alone_Z], np.asarray(self.query_R[place_R])])
