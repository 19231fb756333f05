"""How good scores of validation rows are, for scorers that choose a number by them.

Dimensions: R rows, C candidates (column 0 is the positive).
"""

import numpy as np
from numpy.typing import NDArray

from gensr_dist.evaluation.metrics import ndcg_gain, pessimistic_ranks


def mean_ndcg(score_RC: NDArray[np.floating]) -> float:
    """Mean NDCG@10 of the positives; ties count against them."""
    return float(ndcg_gain(pessimistic_ranks(score_RC), 10).mean())
