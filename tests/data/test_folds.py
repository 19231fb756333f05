"""Folds of users: a function of seed and user, about equally large."""

import numpy as np
import pytest

from gensr_dist.data.folds import fold_of_users


def test_a_fold_depends_on_seed_and_user_alone() -> None:
    user_R = np.random.default_rng(0).integers(0, 10_000, 500)
    fold_R = fold_of_users(user_R, 5, seed=3)
    for place in range(0, 500, 50):
        assert fold_of_users(user_R[[place]], 5, seed=3)[0] == fold_R[place]
    assert np.array_equal(fold_of_users(user_R.astype(np.uint32), 5, seed=3), fold_R)
    assert np.mean(fold_of_users(user_R, 5, seed=4) == fold_R) < 0.3


@pytest.mark.parametrize("folds", [1, 2, 5, 7])
def test_folds_are_about_equally_large(folds: int) -> None:
    fold_R = fold_of_users(np.arange(50_000), folds, seed=1)
    assert fold_R.dtype == np.int64
    count_K = np.bincount(fold_R, minlength=folds)
    assert len(count_K) == folds
    assert np.abs(count_K - 50_000 / folds).max() < 5 * (50_000 / folds) ** 0.5


def test_neighbouring_users_are_parted_independently() -> None:
    fold_R = fold_of_users(np.arange(40_000), 4, seed=1)
    assert np.mean(fold_R[1:] == fold_R[:-1]) == pytest.approx(1 / 4, abs=0.02)


def test_folds_stay_as_they_are() -> None:
    """Vectors on a disk were made with these."""
    assert fold_of_users(np.arange(12), 5, seed=1).tolist() == [2, 1, 0, 1, 3, 2, 2, 4, 0, 4, 0, 3]
