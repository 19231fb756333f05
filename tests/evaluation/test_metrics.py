import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gensr_dist.evaluation.metrics import (
    CUTOFFS,
    MISSED,
    TAILS,
    TaskMetrics,
    mean_metrics,
    ndcg_gain,
    recall_gain,
    reciprocal_gain,
)


def brute_force(rank: list[int]) -> dict[str, float]:
    """The definitions, one row at a time: a ranked list holding one relevant item."""
    totals = {f"{name}@{cutoff}": 0.0 for name in ("recall", "ndcg") for cutoff in CUTOFFS} | {"mrr": 0.0}
    for place in rank:
        for cutoff in CUTOFFS:
            for position in range(1, cutoff + 1):
                if position == place:
                    totals[f"recall@{cutoff}"] += 1
                    totals[f"ndcg@{cutoff}"] += 1 / math.log2(position + 1)
        totals["mrr"] += 1 / place
    return {name: total / len(rank) for name, total in totals.items()}


@settings(max_examples=60)
@given(rank=st.lists(st.integers(1, 100), min_size=1, max_size=60))
def test_metrics_equal_their_definitions(rank: list[int]) -> None:
    metrics = TaskMetrics.from_ranks(np.array(rank), np.zeros(len(rank), np.int64), resamples=0, seed=0)
    found = {name: estimate.value for name, estimate in metrics.named().items()}
    assert found == pytest.approx(brute_force(rank), abs=1e-12)
    assert found == metrics.values() == mean_metrics(np.array(rank))
    assert metrics.count == len(rank)
    assert all(estimate.interval is None for estimate in metrics.named().values())


def test_the_intervals_are_those_of_resampled_rows() -> None:
    """Against a bootstrap that draws rows one resample at a time."""
    rng = np.random.default_rng(3)
    rank_R = np.minimum(rng.geometric(0.08, size=400), 100)
    estimate = TaskMetrics.from_ranks(rank_R, np.arange(400), resamples=4_000, seed=1).ndcg[10]
    gain_R = np.where(rank_R <= 10, 1 / np.log2(1 + rank_R), 0)
    means = [rng.choice(gain_R, size=len(gain_R)).mean() for _ in range(4_000)]
    low, high = np.quantile(means, [0.025, 0.975])
    assert estimate.interval == pytest.approx((low, high), abs=0.005)
    assert estimate.interval is not None
    assert estimate.interval[0] < estimate.value < estimate.interval[1]


def intervals_of_rows(rank_R: np.ndarray, resamples: int, seed: int) -> list[tuple[float, float]]:
    """Of every metric, where rows are drawn: one multinomial draw over the distinct ranks."""
    rank_D, count_D = np.unique(rank_R, return_counts=True)
    columns = [recall_gain(rank_D, cutoff) for cutoff in CUTOFFS] + [ndcg_gain(rank_D, cutoff) for cutoff in CUTOFFS]
    gain_DM = np.stack([*columns, reciprocal_gain(rank_D)], axis=1)
    draw_BD = np.random.default_rng(seed).multinomial(len(rank_R), count_D / len(rank_R), size=resamples)
    bounds_2M = np.quantile(draw_BD @ gain_DM / len(rank_R), TAILS, axis=0)
    return [(low, high) for low, high in bounds_2M.T.tolist()]


@settings(max_examples=60)
@given(
    rank=st.lists(st.integers(1, 60) | st.just(MISSED), min_size=1, max_size=80),
    resamples=st.integers(1, 200),
    seed=st.integers(0, 9),
)
def test_with_a_row_a_user_the_intervals_are_those_of_rows_to_the_last_bit(
    rank: list[int], resamples: int, seed: int
) -> None:
    rank_R, user_R = np.array(rank), np.random.default_rng(seed).permutation(len(rank))
    metrics = TaskMetrics.from_ranks(rank_R, user_R, resamples=resamples, seed=seed)
    assert [each.interval for each in metrics.named().values()] == intervals_of_rows(rank_R, resamples, seed)


def test_rows_that_repeat_their_users_do_not_narrow_the_intervals() -> None:
    rank_R = np.minimum(np.random.default_rng(4).geometric(0.08, size=150), 100)
    once = TaskMetrics.from_ranks(rank_R, np.arange(150), resamples=1_000, seed=1)
    often = TaskMetrics.from_ranks(np.tile(rank_R, 10), np.tile(np.arange(150), 10), resamples=1_000, seed=1)
    assert often.count == 10 * once.count
    for found, expected in zip(often.named().values(), once.named().values(), strict=True):
        assert found.value == pytest.approx(expected.value)
        assert found.interval == pytest.approx(expected.interval)


def test_intervals_repeat_with_their_seed() -> None:
    rank_R = np.arange(1, 101)
    user_R = rank_R // 2
    first, again, other = (TaskMetrics.from_ranks(rank_R, user_R, resamples=50, seed=seed) for seed in (7, 7, 8))
    assert first == again
    assert first != other


def test_a_missed_positive_gives_no_gain() -> None:
    rank_R = np.array([1, MISSED, 3, MISSED])
    metrics = TaskMetrics.from_ranks(rank_R, np.arange(4), resamples=0, seed=0)
    assert metrics.recall[20].value == 0.5
    assert metrics.mrr.value == pytest.approx((1 + 1 / 3) / 4)
    assert [metrics.recall[cutoff].value for cutoff in CUTOFFS] == [0.25, 0.5, 0.5, 0.5]
    assert metrics.ndcg[5].value == pytest.approx((1 + 1 / 2) / 4)
    assert metrics.count == 4
