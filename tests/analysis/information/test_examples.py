import math

import numpy as np
import pytest

from gensr_dist.analysis.information.channels import AnswerChannel
from gensr_dist.analysis.information.examples import CalibratedAnswers, Parts, Users, platt, resamples


def test_no_user_is_in_two_parts_and_five_seeds_estimate_on_each_once() -> None:
    user_X = np.repeat(np.random.default_rng(0).integers(0, 300, size=400), 2)
    users = Users.divided(user_X, 5)
    estimated = []
    for split, folds in zip(users.splits(user_X), users.folds, strict=True):
        sets = [set(user_X[part]) for part in (split.train_P, split.stop_P, split.estimate_P)]
        sets.append(set(users.calibrating_U))
        assert sum(map(len, sets)) == len(set.union(*sets)) == len(np.unique(user_X))
        assert sets[2] == set(folds[0])
        estimated += sorted(sets[2])
    assert sorted([*estimated, *users.calibrating_U]) == sorted(np.unique(user_X))


def test_platt_finds_slope_and_shift() -> None:
    rng = np.random.default_rng(0)
    log_odds_X = 3 * rng.normal(size=20_000)
    clicked_X = rng.random(20_000) < 1 / (1 + np.exp(-(0.5 * log_odds_X - 1)))
    assert platt(log_odds_X, clicked_X) == pytest.approx((0.5, -1), abs=0.06)


def test_platt_survives_labels_that_are_separated() -> None:
    slope, shift = platt(np.array([-900.0, -800.0, 700.0, 900.0]), np.array([False, False, True, True]))
    assert slope > 0
    assert math.isfinite(shift)


def test_plug_in_is_the_information_of_a_known_answer() -> None:
    channel = AnswerChannel(dimensions=4, scale=2.5)
    x_XD = channel.draw(100_000, np.random.default_rng(0)).x_ND
    chance_X = 1 / (1 + np.exp(-2.5 * x_XD.astype(np.float64).sum(1) / 2))
    answers = CalibratedAnswers(
        input_XD=x_XD, chance_X=chance_X, clicked_X=chance_X > 0.5, user_X=np.arange(len(x_XD), dtype=np.int64)
    )
    assert answers.plug_in_parts().mean() == pytest.approx(channel.nats, abs=0.003)
    assert answers.plug_in_parts().mean() <= answers.entropy() <= math.log(2)
    again = answers.draws()
    assert abs(again.y_NO.mean()) < 0.02
    assert (answers.labels().y_NO[:, 0] > 0).tolist() == answers.clicked_X.tolist()


def test_parts_by_user_and_their_interval() -> None:
    rng = np.random.default_rng(0)
    user_P = rng.integers(0, 400, size=2_000)
    part_P = rng.normal(1, 2, size=2_000)
    every_U = np.unique(user_P)
    parts = Parts.of(part_P, user_P, every_U)
    assert parts.mean() == pytest.approx(part_P.mean())
    assert parts.resampled(resamples(len(every_U))).std() == pytest.approx(2 / math.sqrt(2_000), rel=0.15)
