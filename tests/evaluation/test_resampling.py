"""Users' totals: means of drawn and of flipped users, against users who are drawn and flipped one at a time."""

import numpy as np
import pytest

from gensr_dist.evaluation import resampling
from gensr_dist.evaluation.resampling import UserTotals, drawn

VALUES = np.array([[0.0, 1.0], [0.5, 1.0], [0.25, 0.0], [0.25, 0.0], [0.5, 1.0], [1.0, 0.0], [0.0, 1.0]])
USERS = np.array([9, 9, 2, 4, 7, 7, 7])


def many(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Users of 1 to 12 rows, of whom some do well in all of theirs."""
    rng = np.random.default_rng(seed)
    user_R = rng.permutation(np.repeat(np.arange(80), rng.integers(1, 13, 80)))
    return user_R, (rng.random(80)[user_R] + rng.random(len(user_R)))[:, None]


@pytest.mark.parametrize("falling", [False, True])
def test_users_with_the_same_sums_and_rows_are_one_total(falling: bool) -> None:
    totals = UserTotals.of(USERS, VALUES, falling=falling)
    found = list(zip(totals.sum_DM.tolist(), totals.rows_D.tolist(), totals.users_D.tolist(), strict=True))
    expected = [([0.25, 0.0], 1, 2), ([0.5, 2.0], 2, 1), ([1.5, 2.0], 3, 1)]
    assert found == (expected[::-1] if falling else expected)
    assert totals.rows == 7
    assert totals.mean() == pytest.approx(VALUES.mean(axis=0))


def test_equal_sums_of_more_rows_are_another_total() -> None:
    totals = UserTotals.of(np.array([0, 1, 1]), np.array([[0.5], [0.25], [0.25]]), falling=True)
    assert (totals.sum_DM.tolist(), totals.rows_D.tolist()) == ([[0.5], [0.5]], [1, 2])


def test_resamples_are_those_of_users_drawn_one_at_a_time() -> None:
    user_R, value_R1 = many(0)
    found_B = UserTotals.of(user_R, value_R1, falling=False).resampled(np.random.default_rng(1), 4_000)[:, 0]
    rng = np.random.default_rng(2)
    of_user = [value_R1[user_R == user, 0] for user in range(80)]
    expected_B = [np.concatenate([of_user[user] for user in rng.integers(0, 80, 80)]).mean() for _ in range(4_000)]
    assert found_B.mean() == pytest.approx(np.mean(expected_B), abs=0.01)
    assert np.quantile(found_B, [0.025, 0.975]) == pytest.approx(np.quantile(expected_B, [0.025, 0.975]), abs=0.015)


def test_flips_are_those_of_users_flipped_one_at_a_time() -> None:
    user_R, value_R1 = many(3)
    found_B = UserTotals.of(user_R, value_R1, falling=False).flipped(np.random.default_rng(1), 4_000)[:, 0]
    sign_BU = np.random.default_rng(2).choice([-1, 1], (4_000, 80))
    expected_B = (sign_BU[:, user_R] * value_R1[:, 0]).mean(axis=1)
    assert found_B.mean() == pytest.approx(0, abs=0.01)
    assert found_B.std() == pytest.approx(expected_B.std(), rel=0.05)


def test_chunks_have_the_numbers_of_one_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    totals = UserTotals.of(*many(4), falling=False)

    def drawn() -> list[np.ndarray]:
        rng = np.random.default_rng(5)
        return [totals.resampled(rng, 300), totals.flipped(rng, 300)]

    whole = drawn()
    monkeypatch.setattr(resampling, "_DRAWN", 64 * len(totals.users_D))
    assert len(list(totals._chunks(300))) == 5
    for found_BM, expected_BM in zip(drawn(), whole, strict=True):
        assert found_BM.shape == (300, 1)
        np.testing.assert_allclose(found_BM, expected_BM, rtol=0, atol=1e-12)


def test_users_are_drawn_alike_and_as_many_as_there_are() -> None:
    draw_BU = drawn(np.random.default_rng(0), 5, 4_000)
    assert (draw_BU.shape, draw_BU.dtype) == ((4_000, 5), np.float64)
    assert (draw_BU.sum(axis=1) == 5).all()
    assert draw_BU.mean(axis=0) == pytest.approx(1, abs=0.06)  # four standard deviations
