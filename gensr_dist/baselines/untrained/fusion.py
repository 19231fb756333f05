"""Linear fusion: whether a model of both tasks tells more than separate ones together.

Dimensions: R rows, C candidates, S scorers.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

from gensr_dist.baselines.untrained.choice import mean_ndcg
from gensr_dist.data.events import Behaviour
from gensr_dist.data.sparse_vectors import Float
from gensr_dist.data.timelines.rows import EvalRows
from gensr_dist.evaluation.protocol import Scorer

STEPS = 10  # into which the weights' sum is cut


class LinearFusion:
    """The weighted sum of scores, each brought to mean 0 and standard deviation 1 among a row's candidates.

    Args:
        scorers: whose scores are joined.
        weight_S: theirs.
    """

    def __init__(self, scorers: Sequence[Scorer], weight_S: Sequence[float]) -> None:
        self.scorers, self.weight_S = tuple(scorers), tuple(weight_S)
        if len(self.scorers) != len(self.weight_S):
            raise ValueError(f"{len(self.weight_S)} weights for {len(self.scorers)} scorers")

    @classmethod
    def fitted(cls, scorers: Sequence[Scorer], rows: EvalRows) -> Self:
        """With the weights that have the best mean NDCG@10 among all that are multiples of 1 / STEPS of sum 1.

        Of equals it takes those that give the first scorers most. There are (STEPS + S - 1) choose STEPS of them: 66
        for three scorers, 1,001 for five.

        Args:
            scorers: at least one.
            rows: of validation.
        """
        standard_SRC = np.stack([standardised(scorer.score(rows)) for scorer in scorers])
        best = max(_shares(len(scorers), STEPS), key=lambda share_S: mean_ndcg(_sum(standard_SRC, share_S)))
        return cls(scorers, [share / STEPS for share in best])

    def score(self, rows: EvalRows) -> NDArray[np.floating]:
        """Scores [R, C]."""
        return _sum(np.stack([standardised(scorer.score(rows)) for scorer in self.scorers]), self.weight_S)


class TaskFusion:
    """A fusion of its own for each task.

    Args:
        fusions: by task.
    """

    def __init__(self, fusions: Mapping[Behaviour, LinearFusion]) -> None:
        self.fusions = fusions

    def score(self, rows: EvalRows) -> NDArray[np.floating]:
        """Scores [R, C]."""
        score_RC = np.zeros(rows.candidate_RC.shape)
        for task, fusion in self.fusions.items():
            (own_R,) = np.nonzero(rows.task_R == task)
            if len(own_R):
                score_RC[own_R] = fusion.score(rows.take(own_R))
        return score_RC


def standardised(score_RC: NDArray[np.floating]) -> Float:
    """Each row less its mean, over its standard deviation; a row of equal scores is 0."""
    score_RC = score_RC.astype(np.float64)
    equal_R1 = score_RC.max(axis=1, keepdims=True) == score_RC.min(axis=1, keepdims=True)
    spread_R1 = np.where(equal_R1, 1, score_RC.std(axis=1, keepdims=True))
    return np.where(equal_R1, 0, score_RC - score_RC.mean(axis=1, keepdims=True)) / spread_R1


def _sum(standard_SRC: Float, weight_S: Sequence[float]) -> Float:
    total_RC = np.zeros(standard_SRC.shape[1:])
    for standard_RC, weight in zip(standard_SRC, weight_S, strict=True):  # in one order, whatever the rows
        total_RC += weight * standard_RC
    return total_RC


def _shares(scorers: int, steps: int) -> Iterator[tuple[int, ...]]:
    """All ways to give `steps` to scorers, the first ones as many as possible first."""
    if scorers == 1:
        yield (steps,)
        return
    for first in range(steps, -1, -1):
        for rest in _shares(scorers - 1, steps - first):
            yield (first, *rest)
