"""BM25 with a little popularity: of items that fit a query alike, the more popular one is found more often.

Dimensions: I items, R rows, C candidates.
"""

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

from gensr_dist.baselines.untrained.bm25 import BM25
from gensr_dist.baselines.untrained.choice import mean_ndcg
from gensr_dist.data.timelines.rows import EvalRows

WEIGHTS = (0.0, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)  # that are tried


class BM25Popularity:
    """BM25 + weight x log(1 + popularity).

    Args:
        bm25: of the catalogue.
        popularity_I: as `ItemStore.popularity_I` has it.
        weight: of popularity.
    """

    def __init__(self, bm25: BM25, popularity_I: NDArray[np.integer], weight: float) -> None:
        self.bm25, self.weight = bm25, weight
        self.log_popularity_I = np.log1p(popularity_I.astype(np.float64))

    @classmethod
    def fitted(cls, bm25: BM25, popularity_I: NDArray[np.integer], rows: EvalRows) -> Self:
        """With the weight of WEIGHTS that has the best mean NDCG@10; of equals the smallest.

        Args:
            bm25: of the catalogue.
            popularity_I: as `ItemStore.popularity_I` has it.
            rows: of validation.
        """
        match_RC = bm25.score(rows).astype(np.float64)
        popular_RC = cls(bm25, popularity_I, 0.0).log_popularity_I[rows.candidate_RC]
        best = max(WEIGHTS, key=lambda weight: mean_ndcg(match_RC + weight * popular_RC))
        return cls(bm25, popularity_I, best)

    def score(self, rows: EvalRows) -> NDArray[np.floating]:
        """Scores [R, C]."""
        return self.bm25.score(rows) + self.weight * self.log_popularity_I[rows.candidate_RC]
