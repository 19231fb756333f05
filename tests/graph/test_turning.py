"""The orthogonal Procrustes problem, by blocks."""

import numpy as np
import pytest
import scipy.linalg

from gensr_dist.graph import turning as turning_module
from gensr_dist.graph.turning import Turning


def table(rows, width=6, seed=0):
    return np.random.default_rng(seed).normal(size=(rows, width)).astype(np.float32)


def rotation(width=6, seed=1):
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(width, width)))[0]


def turned(turning, table_IE):
    return np.concatenate(list(turning.turned(table_IE)))


@pytest.mark.parametrize("reflected", [False, True])
def test_a_rotation_and_a_factor_are_found_again(reflected):
    goal_IE, turn_EE = table(500), rotation()
    if (np.linalg.det(turn_EE) < 0) != reflected:
        turn_EE[:, 0] *= -1
    table_IE = (goal_IE @ turn_EE.T * 0.3).astype(np.float32)
    turning = Turning.onto(goal_IE, table_IE)
    np.testing.assert_allclose(turning.rotation_EE, turn_EE, atol=1e-6)
    assert turning.scale == pytest.approx(1 / 0.3, rel=1e-6)
    np.testing.assert_allclose(turned(turning, table_IE), goal_IE, atol=1e-5)


@pytest.mark.parametrize("block", [1, 7, 50, 64])
def test_it_is_the_best_rotation_whatever_the_blocks(monkeypatch, block):
    monkeypatch.setattr(turning_module, "ROWS_AT_ONCE", block)
    goal_IE, table_IE = table(50), table(50, seed=5)
    turning = Turning.onto(goal_IE, table_IE)
    expected_EE, _ = scipy.linalg.orthogonal_procrustes(table_IE.astype(np.float64), goal_IE.astype(np.float64))
    np.testing.assert_allclose(turning.rotation_EE, expected_EE, atol=1e-10)
    np.testing.assert_allclose(turning.rotation_EE @ turning.rotation_EE.T, np.eye(6), atol=1e-12)
    assert np.mean(turned(turning, table_IE) ** 2) == pytest.approx(np.mean(goal_IE**2), rel=1e-5)
    assert turned(turning, table_IE).dtype == np.float32

    def distance(turn_EE):
        return np.square(goal_IE - table_IE.astype(np.float64) @ turn_EE).sum()

    assert all(distance(turning.rotation_EE) < distance(rotation(seed=seed)) for seed in range(20))


def test_zero_rows_stay_zero_and_count_for_nothing():
    goal_IE, table_IE = table(60), table(60, seed=5)
    alone = Turning.onto(goal_IE[10:50], table_IE[10:50])
    table_IE[:10] = 0
    goal_IE[50:] = 0
    turning = Turning.onto(goal_IE, table_IE)
    np.testing.assert_allclose(turning.rotation_EE, alone.rotation_EE, atol=1e-12)
    assert turning.scale == pytest.approx(alone.scale)
    found_IE = turned(turning, table_IE)
    assert not found_IE[:10].any()
    assert found_IE[10:].any(axis=1).all()


def test_tables_without_a_common_item_are_left_finite():
    turning = Turning.onto(np.zeros((4, 3), dtype=np.float32), np.ones((4, 3), dtype=np.float32))
    assert np.isfinite(turned(turning, np.ones((4, 3), dtype=np.float32))).all()
    assert turning.scale == 1


def test_cosines_do_not_change():
    goal_IE, table_IE = table(50), table(50, seed=5)
    found_IE = turned(Turning.onto(goal_IE, table_IE), table_IE)

    def cosines(vector_IE):
        unit_IE = vector_IE / np.linalg.norm(vector_IE, axis=1, keepdims=True)
        return unit_IE @ unit_IE.T

    np.testing.assert_allclose(cosines(found_IE), cosines(table_IE), atol=1e-5)
