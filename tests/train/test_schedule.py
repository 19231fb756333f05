import itertools

import pytest

from gensr_dist.train.schedule import FLOOR, learning_rate_factor


def test_rises_linearly_then_falls_to_the_floor() -> None:
    factors = [learning_rate_factor(step, warmup_steps=4, steps=20) for step in range(20)]
    assert factors[:4] == pytest.approx([0.2, 0.4, 0.6, 0.8])
    assert factors[4] == pytest.approx(1.0)
    assert all(later < earlier for earlier, later in itertools.pairwise(factors[4:]))
    assert factors[-1] == pytest.approx(FLOOR)


def test_half_way_down_is_the_mean_of_peak_and_floor() -> None:
    assert learning_rate_factor(5, warmup_steps=0, steps=11) == pytest.approx((1 + FLOOR) / 2)


@pytest.mark.parametrize(("warmup_steps", "steps"), [(0, 1), (1, 1), (10, 5), (5, 5), (4, 5)])
def test_odd_lengths_stay_between_zero_and_one(warmup_steps: int, steps: int) -> None:
    for step in range(steps + 2):  # DeepSpeed asks for one more than it uses
        assert 0 < learning_rate_factor(step, warmup_steps=warmup_steps, steps=steps) <= 1
