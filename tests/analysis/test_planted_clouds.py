"""Separability, overlap, angles and CKA of clouds whose answers are known."""

import math

import numpy as np
import pytest

from gensr_dist.analysis.intervals import holds_above, share, verdict
from gensr_dist.analysis.subspaces.analysis import HALF, _differ
from gensr_dist.analysis.subspaces.clouds import Clouds
from gensr_dist.analysis.subspaces.geometry import cka, likeness, principal_angles
from gensr_dist.analysis.subspaces.overlap import embedded_plane, overlap_of, principal_plane
from gensr_dist.analysis.subspaces.separability import null_separability, separability
from gensr_dist.analysis.subspaces.spaces import balanced, is_finite
from gensr_dist.evaluation.metrics import Estimate


def clouds(rec_RD: np.ndarray, search_RD: np.ndarray, *, rows_a_user: int = 2) -> Clouds:
    user_R = np.arange(len(rec_RD)) // rows_a_user
    return Clouds(rec_RD=rec_RD, search_RD=search_RD, rec_user_R=user_R, search_user_R=user_R)


def normal(seed: int, rows: int = 400, width: int = 5) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(rows, width))


def test_one_cloud_twice_is_not_told_apart() -> None:
    same = clouds(normal(1), normal(2))
    for kind in ("linear", "neighbours"):
        assert holds_above(separability(same, kind), 0.5) is None
    assert holds_above(null_separability(same), 0.5) is None
    overlap = overlap_of(principal_plane(same)[0])
    assert holds_above(overlap.ratio, 1.0) is None
    assert overlap.ratio.value == pytest.approx(1.0, abs=0.05)
    assert verdict(overlap.ratio, HALF, above="yes", below="no") == "yes"
    assert _differ(overlap.ratio, separability(same, "linear")) == "no"


def test_clouds_far_apart_are() -> None:
    apart = clouds(normal(1), normal(2) + 4.0)
    for kind in ("linear", "neighbours"):
        assert separability(apart, kind).value > 0.99
    assert holds_above(null_separability(apart), 0.5) is None
    overlap = overlap_of(principal_plane(apart)[0])
    assert overlap.ratio.interval[1] < 0.05
    assert verdict(overlap.ratio, HALF, above="no", below="yes") == "yes"
    assert _differ(overlap.ratio, separability(apart, "linear")) == "yes"


def test_neighbours_see_what_no_line_parts() -> None:
    rings = clouds(0.2 * normal(1), 3 * normal(2))
    line, neighbours = (separability(rings, kind).value for kind in ("linear", "neighbours"))
    assert line < 0.75 < 0.85 < neighbours


def test_people_are_no_tasks() -> None:
    """Each user is a cluster of one task: who saw the user in training would know all rows, and nobody does."""
    random = np.random.default_rng(3)
    user_R = np.repeat(np.arange(120), 8)
    point_RD = random.normal(size=(120, 6))[user_R] + 0.05 * random.normal(size=(len(user_R), 6))
    is_search_R = random.permutation(120)[user_R] < 60
    people = Clouds(
        rec_RD=point_RD[~is_search_R],
        search_RD=point_RD[is_search_R],
        rec_user_R=user_R[~is_search_R],
        search_user_R=user_R[is_search_R],
    )
    for kind in ("linear", "neighbours"):
        found = separability(people, kind)
        assert holds_above(found, 0.5) is not True
        low, high = found.interval
        assert high - low > 0.1  # 120 users are few, however many rows they have
    assert holds_above(overlap_of(principal_plane(people)[0]).ratio, 1.0) is not False


def test_overlap_of_two_bells_is_known() -> None:
    distance = 2.0
    bells = clouds(normal(1, 4_000, 2), normal(2, 4_000, 2) + np.array([distance, 0.0]))
    width = math.sqrt(1 + 2_000 ** (-1 / 3))  # of a bell and of its kernel, in half of the users
    expected = math.erfc(distance / width / 2 / math.sqrt(2))  # 2 Phi(-d / 2)
    found = overlap_of(bells)
    assert found.across.value == pytest.approx(expected, abs=0.01)
    low, high = found.across.interval
    assert low < found.across.value < high < low + 0.06


def test_planes_at_a_right_angle() -> None:
    rec_R4, search_R4 = np.zeros((400, 4)), np.zeros((400, 4))
    rec_R4[:, [0, 1]], search_R4[:, [0, 2]] = normal(1, width=2), normal(2, width=2)
    angles = principal_angles(clouds(rec_R4, search_R4 + 7.0))  # means do not matter
    assert angles.directions == 2
    assert angles.across.value == pytest.approx(45.0, abs=0.5)  # one direction is common, one is not
    assert angles.null.value == pytest.approx(0.0, abs=0.5)


def test_cka_knows_turned_clouds_and_strangers() -> None:
    first, turn = normal(1, 200), np.linalg.qr(normal(5, 5))[0]
    assert cka(first, 3 * first @ turn + 2) == pytest.approx(1.0)
    assert cka(first, normal(2, 200)) == pytest.approx(0.0, abs=0.05)
    assert math.isnan(cka(np.ones((60, 3)), normal(2, 60)))
    found = likeness(clouds(np.repeat(first, 2, 0), np.repeat(first @ turn, 2, 0)))
    assert found.users == 200
    assert found.across.value == pytest.approx(1.0)
    assert holds_above(found.null, 0.2) is False
    assert likeness(clouds(normal(1, 60), normal(2, 60))) is None  # 30 users


def test_views_are_balanced_and_embedded() -> None:
    parts = clouds(np.hstack([100 * normal(1, 60), normal(2, 60)]), np.hstack([100 * normal(3, 60), normal(4, 60)]))
    even = balanced(parts, 5).both_RD
    assert (even[:, :5] ** 2).mean() == pytest.approx(1.0)
    assert (even[:, 5:] ** 2).mean() == pytest.approx(1.0)
    plane = embedded_plane(balanced(parts, 5))
    assert plane.rec_RD.shape == plane.search_RD.shape == (60, 2)


def test_what_cannot_be_measured() -> None:
    assert not is_finite(clouds(normal(1), np.full((400, 5), np.nan)))
    assert not is_finite(clouds(np.ones((4, 5)), np.ones((4, 5))))
    assert verdict(Estimate(value=math.nan, interval=None), HALF, above="yes", below="no") == "undecided"


def test_a_share_of_nothing_has_an_interval() -> None:
    low, high = share(0, 20).interval
    assert (low, high) == (0.0, pytest.approx(0.161, abs=1e-3))  # Wilson's
    assert share(10, 20).interval == pytest.approx((0.299, 0.701), abs=1e-3)
