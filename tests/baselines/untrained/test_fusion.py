from dataclasses import dataclass

import numpy as np
import pytest

from gensr_dist.baselines.untrained import fusion
from gensr_dist.baselines.untrained.choice import mean_ndcg
from gensr_dist.baselines.untrained.fusion import LinearFusion, standardised
from gensr_dist.data.timelines.rows import EvalRows

ROWS, CANDIDATES = 40, 12


@dataclass(frozen=True)
class Drawn:
    """A random score of each user's items."""

    table_VI: np.ndarray

    def score(self, rows: EvalRows) -> np.ndarray:
        return self.table_VI[rows.user_R[:, None], rows.candidate_RC]


def some_rows() -> EvalRows:
    draw = np.random.default_rng(0)
    candidate_RC = np.argsort(draw.random((ROWS, 30)), axis=1)[:, :CANDIDATES]
    zeros = np.zeros(ROWS, dtype=np.int64)
    return EvalRows(zeros, np.arange(ROWS), zeros, zeros - 1, zeros, candidate_RC)


def drawn(seed: int, strength: float = 0.0) -> Drawn:
    """Scores that know something of the positives."""
    table_VI = np.random.default_rng(seed).normal(size=(ROWS, 30))
    table_VI[np.arange(ROWS), some_rows().candidate_RC[:, 0]] += strength
    return Drawn(7 * table_VI - 100)


def test_scores_are_weighted_sums_of_standard_scores() -> None:
    rows, scorers, weights = some_rows(), [drawn(1), drawn(2)], [0.3, 0.7]
    score_RC = LinearFusion(scorers, weights).score(rows)
    for row in range(ROWS):
        for place in range(CANDIDATES):
            expected = 0.0
            for scorer, weight in zip(scorers, weights, strict=True):
                score_C = scorer.score(rows)[row].tolist()
                mean = sum(score_C) / CANDIDATES
                deviation = (sum((score - mean) ** 2 for score in score_C) / CANDIDATES) ** 0.5
                expected += weight * (score_C[place] - mean) / deviation
            assert score_RC[row, place] == pytest.approx(expected)


def test_equal_scores_say_nothing() -> None:
    score_RC = np.array([[0.1, 0.1, 0.1], [1.0, 2.0, 3.0]], dtype=np.float32)
    assert standardised(score_RC)[0].tolist() == [0, 0, 0]
    assert standardised(score_RC)[1] == pytest.approx([-(1.5**0.5), 0, 1.5**0.5])


@pytest.mark.parametrize("count", [1, 2, 3])
def test_weights_are_the_best_of_the_grid(count: int) -> None:
    rows, scorers = some_rows(), [drawn(seed, strength=0.4 * seed) for seed in range(count)]
    fitted = LinearFusion.fitted(scorers, rows)
    assert sum(fitted.weight_S) == pytest.approx(1)
    best = mean_ndcg(fitted.score(rows))
    grid = [share_S for share_S in np.ndindex(*[fusion.STEPS + 1] * count) if sum(share_S) == fusion.STEPS]
    assert len(grid) == (1, 11, 66)[count - 1]
    gains = [
        mean_ndcg(LinearFusion(scorers, [share / fusion.STEPS for share in share_S]).score(rows)) for share_S in grid
    ]
    assert best == pytest.approx(max(gains))


def test_of_two_halves_the_sum_is_better_than_either() -> None:
    rows, scorers = some_rows(), [drawn(3, 1.5), drawn(4, 1.5), drawn(5)]
    fitted = LinearFusion.fitted(scorers, rows)
    assert min(fitted.weight_S[:2]) > fitted.weight_S[2]
    assert mean_ndcg(fitted.score(rows)) > max(mean_ndcg(scorer.score(rows)) for scorer in scorers)


def test_a_row_does_not_depend_on_the_others() -> None:
    rows, scorer = some_rows(), LinearFusion([drawn(1), drawn(2)], [0.4, 0.6])
    alone = [scorer.score(rows.take(np.array([row]))) for row in range(ROWS)]
    assert np.array_equal(np.concatenate(alone), scorer.score(rows))


def test_each_scorer_has_a_weight() -> None:
    with pytest.raises(ValueError, match="1 weights for 2 scorers"):
        LinearFusion([drawn(1), drawn(2)], [1.0])
