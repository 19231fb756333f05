import dataclasses
import math

import numpy as np
import pytest

from gensr_dist.analysis.information import estimators
from gensr_dist.analysis.information.channels import AnswerChannel, BinarySymmetricChannel, Channel, GaussianChannel
from gensr_dist.analysis.information.estimators import BoundEstimate, BrokenEstimate, Samples, UserSplit, estimates


def split(examples: int) -> UserSplit:
    own_N = np.arange(examples)
    first, second = int(0.6 * examples), int(0.7 * examples)
    return UserSplit(train_P=own_N[:first], stop_P=own_N[first:second], estimate_P=own_N[second:])


def estimated(channel: Channel, examples: int) -> dict[str, float]:
    samples = channel.draw(examples, np.random.default_rng(0))
    found = estimates(samples, [split(examples)], seed=0)
    return {bound: each[0].nats for bound, each in found.items()}


@pytest.mark.parametrize(
    ("channel", "near"),
    [
        (GaussianChannel(dimensions=3, nats=0.5), 0.06),
        (BinarySymmetricChannel(flip=0.11), 0.03),
        (GaussianChannel(dimensions=5, nats=0.0), 0.02),
        (AnswerChannel(dimensions=5, scale=2.5), 0.04),
    ],
)
def test_known_information_is_found(channel: Channel, near: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimators, "STEPS", 400)
    for value in estimated(channel, 12_000).values():
        assert value == pytest.approx(channel.nats, abs=near)
        if not isinstance(channel, GaussianChannel):
            assert value <= math.log(2) + 0.01  # H(Y)


def few() -> Samples:
    return GaussianChannel(dimensions=2, nats=0.5).draw(600, np.random.default_rng(0))


def test_a_seed_gives_the_same_estimate_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimators, "STEPS", 30)
    first, second, other = (estimates(few(), [split(600)], seed=seed)["MINE"][0] for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.part_P, second.part_P)
    assert first.nats != other.nats


def test_a_value_that_is_not_a_number_breaks_the_estimates_that_read_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimators, "STEPS", 30)
    x_ND = few().x_ND.copy()
    x_ND[0] = np.nan
    samples = dataclasses.replace(few(), x_ND=x_ND)
    without = dataclasses.replace(split(600), train_P=np.arange(1, 360))
    found = estimates(samples, [split(600), without], seed=0)
    for of_bound in found.values():
        assert isinstance(of_bound[0], BrokenEstimate)
        assert isinstance(of_bound[1], BoundEstimate)
        assert math.isfinite(of_bound[1].nats)


def test_a_column_of_rounding_noise_is_not_blown_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimators, "STEPS", 30)
    noisy = np.hstack([few().x_ND, 1e-8 * np.random.default_rng(1).normal(size=(600, 1)).astype(np.float32)])
    constant = np.hstack([few().x_ND, np.zeros((600, 1), dtype=np.float32)])
    first, second = (
        estimates(dataclasses.replace(few(), x_ND=x_ND), [split(600)], seed=0)["NWJ"][0].nats
        for x_ND in (noisy, constant)
    )
    assert first == second
