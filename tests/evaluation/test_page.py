"""`report.html` of an evaluation, and calibration."""

import re

import numpy as np
import pytest

from gensr_dist.data.events import Behaviour
from gensr_dist.evaluation.calibration import AS_RANKED, AS_TRAINED, NUMBERS, Calibration, binned
from gensr_dist.evaluation.metrics import TaskMetrics, reach_of
from gensr_dist.evaluation.page import evaluation_page
from gensr_dist.evaluation.report import EvaluationResult
from gensr_dist.evaluation.strata import TaskStrata, divide
from tests.evaluation.test_report import candidates_of, catalogue_of, result_of


def calibration(log_odds_RC: np.ndarray, resamples: int = 50, *, user_R: np.ndarray | None = None) -> Calibration:
    """Of as many users as rows, unless others are given."""
    return Calibration.of(
        binned(log_odds_RC),
        np.arange(len(log_odds_RC)) if user_R is None else user_R,
        negatives=log_odds_RC.shape[1] - 1,
        training_negatives=4,
        resamples=resamples,
        seed=0,
    )


def log_odds_of(chance_N: np.ndarray, *, negatives: int, rows: int, seed: int = 0) -> np.ndarray:
    """Rows of a positive and negatives, each drawn with its chance of being one, as a calibrated model answers."""
    rng = np.random.default_rng(seed)
    positive_N = rng.random(len(chance_N)) < chance_N
    log_odds_N = np.log(chance_N / (1 - chance_N))
    yes = rng.choice(log_odds_N[positive_N], rows)
    no = rng.choice(log_odds_N[~positive_N], (rows, negatives))
    return np.column_stack([yes, no])


def chances(positives: float, seed: int = 1) -> np.ndarray:
    """Many chances, widely spread, of this mean."""
    return np.clip(np.random.default_rng(seed).beta(positives, 1 - positives, 400_000), 1e-6, 1 - 1e-6)


def test_a_calibrated_model_has_no_error() -> None:
    found = calibration(log_odds_of(chances(0.2), negatives=4, rows=20_000))
    for curve in found.curves.values():  # with as many negatives as in training both weigh alike
        assert curve.base_rate == pytest.approx(0.2)
        assert curve.predicted == pytest.approx(0.2, abs=0.005)
        assert curve.error.value < 0.005
        for part in curve.bins:
            assert part.first <= part.predicted <= part.last


def test_a_calibrated_model_of_training_is_too_sure_among_more_negatives() -> None:
    found = calibration(log_odds_of(chances(0.2), negatives=99, rows=5_000))
    trained, ranked = found.curves[AS_TRAINED], found.curves[AS_RANKED]
    assert (trained.base_rate, ranked.base_rate) == (pytest.approx(0.2), pytest.approx(0.01))
    assert trained.error.value < 0.01
    assert ranked.error.value > 5 * trained.error.value
    low, high = trained.error.interval or (0, 0)
    assert 0 < low <= high < 0.02


def test_an_error_is_the_distance_from_the_truth() -> None:
    log_odds_RC = np.zeros((10, 5))  # P(Yes) is .5 for all, one of five is positive
    found = calibration(log_odds_RC, resamples=0).curves[AS_RANKED]
    (part,) = found.bins
    assert (part.predicted, part.positives, part.answers, part.interval) == (0.5, 0.2, 50, None)
    assert (found.error.value, found.error.interval) == (pytest.approx(0.3), None)


def test_extreme_scores_are_binned() -> None:
    found_RF = binned(np.array([[800.0, -800.0, 0.0]]))
    assert found_RF.shape == (1, NUMBERS)
    assert found_RF[0, : (NUMBERS - 1) // 2].sum() == 2
    assert found_RF[0, -1] == pytest.approx(1)


def test_reach_is_the_distribution_of_ranks() -> None:
    assert reach_of(np.array([1, 1, 3, 4]), 3) == (0.5, 0.5, 0.75, 1.0)


def whole_result() -> EvaluationResult:
    rank_R = np.arange(1, 11).repeat(4)
    ranks = {"gensr": rank_R, "counting": rank_R, "popularity": rank_R}
    strata = TaskStrata(
        popularity=divide(ranks, np.arange(40), (0, 3, 6)), history=divide(ranks, np.arange(40), (0, 1))
    )
    plain = result_of([catalogue_of(task, 0) for task in Behaviour], [candidates_of(task) for task in Behaviour])
    return EvaluationResult(
        scorers=plain.scorers,
        protocol=plain.protocol,
        catalogue=plain.catalogue,
        candidates=plain.candidates,
        strata=dict.fromkeys(Behaviour, strata),
        reach={task: {name: reach_of(each, 9) for name, each in ranks.items()} for task in Behaviour},
        calibration=dict.fromkeys(Behaviour, calibration(np.random.default_rng(0).normal(size=(40, 10)))),
    )


def test_the_page_has_every_part_and_needs_no_network() -> None:
    result = whole_result()
    html = evaluation_page(result).html()
    assert re.findall("<h2>(.*?)</h2>", html) == [
        "Recommendation: 40 rows",
        "Search: 40 rows",
        "Whole catalogue",
        "Candidates",
        "Calibration",
        "By activity of the user and popularity of the item",
        "Protocol",
    ]
    assert html.count("<svg ") == 2 * (3 + 1 + 1 + 1 + 2)
    assert html.count('role="img" aria-label="') == html.count("<svg ")
    assert not re.findall(r"(?:src|href)=['\"](?!#|data:)", html)
    assert "<script" not in html
    metrics: TaskMetrics = result.gensr[Behaviour.SEARCH]
    interval = metrics.ndcg[10].interval or (0, 0)
    assert f"<td>{metrics.ndcg[10].value:.4f} [{interval[0]:.4f}, {interval[1]:.4f}]</td>" in html
    assert "10 candidates, a training group 1 among 5" in html


def test_rows_that_repeat_their_users_do_not_narrow_intervals_of_calibration() -> None:
    log_odds_RC = log_odds_of(chances(0.2), negatives=4, rows=100)
    once = calibration(log_odds_RC).curves[AS_RANKED]
    often = calibration(np.tile(log_odds_RC, (10, 1)), user_R=np.tile(np.arange(100), 10)).curves[AS_RANKED]
    assert often.error.interval == pytest.approx(once.error.interval)
    assert [each.interval for each in often.bins] == [pytest.approx(each.interval) for each in once.bins]


def test_without_resamples_there_are_no_intervals() -> None:
    html = evaluation_page(result_of(resamples=0)).html()
    assert "Protocol" in html
    assert "Calibration" not in html
    assert "resamples" not in html
