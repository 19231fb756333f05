"""The inverse of the distribution, by exhausting it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gensr_dist.data.negatives.popularity import PopularitySampler
from gensr_dist.data.negatives.sampling import DrawnNegatives, TrainingNegatives


@settings(max_examples=60)
@given(count=st.lists(st.integers(0, 6), min_size=1, max_size=30), power=st.sampled_from([0.0, 0.5, 0.75, 1.0]))
def test_each_item_owns_as_many_numbers_as_it_weighs(count: list[int], power: float) -> None:
    popularity = PopularitySampler.from_counts(np.array(count), power)
    weight_I = popularity.weights()
    assert weight_I.tolist() == [round((one + 1) ** power * 2**20) for one in count]
    # Just inside and outside every border of the exact inverse, which goes by count, then by item.
    order = sorted(range(len(count)), key=lambda item: (count[item], item))
    end = np.cumsum([int(weight_I[item]) for item in order])
    at = np.concatenate([[0], end[:-1], end - 1]).astype(np.uint64)
    assert popularity.item_at(at).tolist() == [order[0], *order[1:], *order]
    assert popularity.item_at(np.array([end[-1]], dtype=np.uint64)).tolist() == [order[0]]  # numbers wrap around


@pytest.mark.parametrize("power", [0.0, 0.75])
def test_popular_items_are_drawn_more_often_unless_the_power_is_0(power: float) -> None:
    popularity = PopularitySampler.from_counts(np.array([0, 10**6]), power)
    share = popularity.weights() / popularity.end_T[-1]
    assert share[1] == pytest.approx((10**6 + 1) ** power / (1 + (10**6 + 1) ** power))


@settings(max_examples=30)
@given(count=st.lists(st.integers(0, 9), min_size=1, max_size=12), power=st.sampled_from([0.0, 0.5, 1.0]))
def test_the_log_of_the_chance_is_that_of_the_weights(count: list[int], power: float) -> None:
    popularity = PopularitySampler.from_counts(np.array(count), power)
    share_I = (np.array(count) + 1.0) ** power
    expected_I = np.log(share_I / share_I.sum() * len(count))
    np.testing.assert_allclose(popularity.log_chance_I, expected_I, atol=1e-5)
    negatives = TrainingNegatives(count=1, hard=0, popularity=popularity)
    drawn = DrawnNegatives(np.array([[0, len(count) - 1, 0]]), np.array([[False, False, True]]))
    expected_RC = [[*popularity.log_chance_I[[0, -1]], np.inf]]
    np.testing.assert_array_equal(negatives.log_chance(drawn), expected_RC)
    uniform = TrainingNegatives(count=1, hard=0, popularity=None)
    np.testing.assert_array_equal(uniform.log_chance(drawn), [[0, 0, np.inf]])
