"""The orthogonal Procrustes problem, by blocks."""

import numpy as np
import pytest
import scipy.linalg

from gensr_dist.graph import procrustes
from gensr_dist.graph.procrustes import ProcrustesAlignment


def table(rows, width=6, seed=0):
    return np.random.default_rng(seed).normal(size=(rows, width)).astype(np.float32)


def rotation(width=6, seed=1):
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(width, width)))[0]


def aligned(alignment, table_IE):
    return np.concatenate(list(alignment.aligned(table_IE)))


@pytest.mark.parametrize("reflected", [False, True])
def test_a_rotation_and_a_factor_are_found_again(reflected):
    goal_IE, rotation_EE = table(500), rotation()
    if (np.linalg.det(rotation_EE) < 0) != reflected:
        rotation_EE[:, 0] *= -1
    table_IE = (goal_IE @ rotation_EE.T * 0.3).astype(np.float32)
    alignment = ProcrustesAlignment.onto(goal_IE, table_IE)
    np.testing.assert_allclose(alignment.rotation_EE, rotation_EE, atol=1e-6)
    assert alignment.scale == pytest.approx(1 / 0.3, rel=1e-6)
    np.testing.assert_allclose(aligned(alignment, table_IE), goal_IE, atol=1e-5)


@pytest.mark.parametrize("block", [1, 7, 50, 64])
def test_it_is_the_best_rotation_whatever_the_blocks(monkeypatch, block):
    monkeypatch.setattr(procrustes, "ROWS_AT_ONCE", block)
    goal_IE, table_IE = table(50), table(50, seed=5)
    alignment = ProcrustesAlignment.onto(goal_IE, table_IE)
    expected_EE, _ = scipy.linalg.orthogonal_procrustes(table_IE.astype(np.float64), goal_IE.astype(np.float64))
    np.testing.assert_allclose(alignment.rotation_EE, expected_EE, atol=1e-10)
    np.testing.assert_allclose(alignment.rotation_EE @ alignment.rotation_EE.T, np.eye(6), atol=1e-12)
    assert np.mean(aligned(alignment, table_IE) ** 2) == pytest.approx(np.mean(goal_IE**2), rel=1e-5)
    assert aligned(alignment, table_IE).dtype == np.float32

    def distance(rotation_EE):
        return np.square(goal_IE - table_IE.astype(np.float64) @ rotation_EE).sum()

    assert all(distance(alignment.rotation_EE) < distance(rotation(seed=seed)) for seed in range(20))


def test_zero_rows_stay_zero_and_count_for_nothing():
    goal_IE, table_IE = table(60), table(60, seed=5)
    alone = ProcrustesAlignment.onto(goal_IE[10:50], table_IE[10:50])
    table_IE[:10] = 0
    goal_IE[50:] = 0
    alignment = ProcrustesAlignment.onto(goal_IE, table_IE)
    np.testing.assert_allclose(alignment.rotation_EE, alone.rotation_EE, atol=1e-12)
    assert alignment.scale == pytest.approx(alone.scale)
    found_IE = aligned(alignment, table_IE)
    assert not found_IE[:10].any()
    assert found_IE[10:].any(axis=1).all()


def test_tables_without_a_common_item_are_left_finite():
    alignment = ProcrustesAlignment.onto(np.zeros((4, 3), dtype=np.float32), np.ones((4, 3), dtype=np.float32))
    assert np.isfinite(aligned(alignment, np.ones((4, 3), dtype=np.float32))).all()
    assert alignment.scale == 1


def test_cosines_do_not_change():
    goal_IE, table_IE = table(50), table(50, seed=5)
    found_IE = aligned(ProcrustesAlignment.onto(goal_IE, table_IE), table_IE)

    def cosines(vector_IE):
        unit_IE = vector_IE / np.linalg.norm(vector_IE, axis=1, keepdims=True)
        return unit_IE @ unit_IE.T

    np.testing.assert_allclose(cosines(found_IE), cosines(table_IE), atol=1e-5)
