"""Fitted orders against a plain likelihood in float64, and weights that are found again.

Dimensions: M candidates of all groups, G groups, F features.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gensr_dist.retrieval.fusion import learnt_order
from gensr_dist.retrieval.fusion.hidden_units import UNITS, HiddenUnits
from gensr_dist.retrieval.fusion.learnt_order import FEWEST, FEWEST_FOR_UNITS, LearntOrder, fit_order

Table = tuple[np.ndarray, np.ndarray, np.ndarray]


def simulated(seed: int, groups: int, weight_F: np.ndarray, *, longest: int = 12, missing: float = 0.0) -> Table:
    """Features, starts of the groups, and the positive that each group chose by the softmax of its scores."""
    rng = np.random.default_rng(seed)
    start_G = np.cumsum([0, *rng.integers(2, longest + 1, groups)])
    feature_MF = rng.normal(size=(start_G[-1], len(weight_F)))
    positive_G = np.empty(groups, dtype=np.int64)
    for group in range(groups):
        score_C = feature_MF[start_G[group] : start_G[group + 1]] @ weight_F
        share_C = np.exp(score_C - score_C.max())
        positive_G[group] = start_G[group] + rng.choice(len(score_C), p=share_C / share_C.sum())
    positive_G[rng.random(groups) < missing] = -1
    return feature_MF, start_G, positive_G


def penalised(order: LearntOrder, weight_F: np.ndarray, table: Table) -> tuple[float, float]:
    """Mean -log share of the positives by a loop over groups, and the same with the ridge."""
    feature_MF, start_G, positive_G = table
    value_MF = (feature_MF - np.array(order.mean)) / np.array(order.deviation)
    losses = []
    for group, positive in enumerate(positive_G.tolist()):
        if positive >= 0:
            score_C = value_MF[start_G[group] : start_G[group + 1]] @ weight_F
            losses.append(np.log(np.exp(score_C).sum()) - value_MF[positive] @ weight_F)
    return float(np.mean(losses)), float(np.mean(losses) + learnt_order._PRIOR * weight_F @ weight_F / len(losses))


@settings(max_examples=10)
@given(seed=st.integers(0, 2**16), features=st.integers(1, 5))
def test_the_fit_is_where_the_penalised_loss_is_flat(seed: int, features: int) -> None:
    table = simulated(seed, 150, np.random.default_rng(seed).normal(size=features), missing=0.2)
    names = [f"f{place}" for place in range(features)]
    order = fit_order(names, *table)
    assert order is not None
    weight_F = np.array(order.weight)
    for place in range(features):
        step_F = 1e-4 * (np.arange(features) == place)
        slope = (penalised(order, weight_F + step_F, table)[1] - penalised(order, weight_F - step_F, table)[1]) / 2e-4
        assert slope == pytest.approx(0, abs=1e-4)
    assert order.loss == pytest.approx(penalised(order, weight_F, table)[0], rel=1e-6)
    assert order.loss <= order.even
    lengths = np.diff(table[1])[table[2] >= 0]
    assert order.even == pytest.approx(np.log(lengths).mean())
    assert order.groups == len(lengths)
    assert order.features == tuple(names)


def test_planted_weights_are_found_again() -> None:
    weight_F = np.array([1.5, -0.7, 0.0, 0.3])
    feature_MF, start_G, positive_G = simulated(0, 4_000, weight_F)
    scale_F, offset_F = np.array([10, 0.01, 1, 300]), np.array([-5, 1_000, 0, 2])
    order = fit_order("abcd", feature_MF * scale_F + offset_F, start_G, positive_G)
    assert order is not None
    np.testing.assert_allclose(np.array(order.weight), weight_F, atol=0.1)
    np.testing.assert_allclose(order.deviation, scale_F, rtol=0.05)
    assert order.loss < order.even - 0.3


def test_float32_features_fit_alike() -> None:
    feature_MF, start_G, positive_G = simulated(1, 300, np.array([1.0, -1.0]))
    wide, narrow = (fit_order("ab", feature_MF.astype(kind), start_G, positive_G) for kind in (np.float64, np.float32))
    assert wide is not None
    assert narrow is not None
    np.testing.assert_allclose(narrow.weight, wide.weight, atol=1e-4)


@pytest.mark.parametrize(("found", "fits"), [(FEWEST - 1, False), (FEWEST, True)])
def test_few_groups_fit_nothing(found: int, fits: bool) -> None:
    feature_MF, start_G, positive_G = simulated(0, FEWEST + 50, np.array([1.0]))
    positive_G[found:] = -1
    assert (fit_order("a", feature_MF, start_G, positive_G) is not None) == fits


def test_groups_without_their_positive_do_not_count() -> None:
    feature_MF, start_G, positive_G = simulated(2, 260, np.array([1.0, 0.5]), missing=0.4)
    whole = fit_order("ab", feature_MF, start_G, positive_G)
    kept = np.flatnonzero(positive_G >= 0)
    rows = np.concatenate([np.arange(start_G[group], start_G[group + 1]) for group in kept])
    starts = np.concatenate([[0], np.cumsum(np.diff(start_G)[kept])])
    few = fit_order("ab", feature_MF[rows], starts, positive_G[kept] - start_G[kept] + starts[:-1])
    assert whole == few


@pytest.mark.parametrize("value", [0.0, 3.0, -1e7])
def test_a_constant_feature_has_no_weight(value: float) -> None:
    feature_MF, start_G, positive_G = simulated(3, 200, np.array([1.0, 0.0]))
    feature_MF[:, 1] = value
    order = fit_order(("live", "dead"), feature_MF, start_G, positive_G)
    assert order is not None
    assert order.weight[1] == pytest.approx(0, abs=1e-9)
    assert order.deviation[1] == 1
    assert order.weight[0] > 0.5
    np.testing.assert_allclose(order.score(feature_MF)[:5], order.score(feature_MF * [1, 1])[:5])


def test_a_feature_that_tells_everything_keeps_a_finite_weight() -> None:
    """Without the ridge the likelihood would grow forever; it pulls the more, the fewer groups there are."""
    weights = []
    for groups in (FEWEST, 20 * FEWEST):
        feature_MF, start_G, positive_G = simulated(4, groups, np.array([0.0]))
        feature_MF[:, 0] = 0
        feature_MF[positive_G, 0] = 1
        order = fit_order("a", feature_MF, start_G, positive_G)
        assert order is not None
        assert np.isfinite(order.weight[0])
        weights.append(order.weight[0])
    assert 1 < weights[0] < weights[1] < 50


def test_scores_are_those_of_the_formula() -> None:
    order = LearntOrder(
        features=("a", "b"), mean=(1.0, -2.0), deviation=(2.0, 0.5), weight=(3.0, -1.0), groups=1, loss=0.0, even=0.0
    )
    feature_GKF = np.random.default_rng(0).normal(size=(4, 3, 2)).astype(np.float32)
    wide = feature_GKF.astype(np.float64)
    expected_GK = 3 * (wide[..., 0] - 1) / 2 - (wide[..., 1] + 2) / 0.5
    np.testing.assert_allclose(order.score(feature_GKF), expected_GK, rtol=1e-12)
    assert order.score(feature_GKF[0, 0]).shape == ()


def test_lines_name_the_heaviest_first() -> None:
    order = LearntOrder(
        features=("a", "b", "c"),
        mean=(0.0, 0.0, 0.0),
        deviation=(1.0, 1.0, 1.0),
        weight=(0.25, -2.0, 1.0),
        groups=1_234,
        loss=2.5,
        even=4.0,
    )
    assert order.lines() == (
        "fitted on 1,234 validation rows: -log share of the positive 2.500 (all alike 4.000)",
        "weights a deviation: b -2.00, c +1.00, a +0.25",
    )


def both_or_neither(seed: int, groups: int) -> Table:
    """The positive has two features of the same sign, others have not: a sum of features says nothing of it."""
    rng = np.random.default_rng(seed)
    feature_GKF = rng.choice([-1.0, 1.0], size=(groups, 6, 2))
    feature_GKF[:, 1:, 1] = -feature_GKF[:, 1:, 0]
    feature_GKF[:, 0, 1] = feature_GKF[:, 0, 0]
    return feature_GKF.reshape(-1, 2), np.arange(groups + 1) * 6, np.arange(groups) * 6


def test_hidden_units_find_what_no_sum_can_say() -> None:
    table = both_or_neither(1, FEWEST_FOR_UNITS)
    order = fit_order("ab", *table)
    assert order is not None
    assert order.units is not None
    assert order.gain > 1
    assert order.loss < 0.2 < 1.7 < order.even
    fresh_MF, _, _ = both_or_neither(2, 200)
    score_GK = order.score(fresh_MF).reshape(200, 6)
    assert (score_GK.argmax(1) == 0).all()
    assert f"{UNITS} hidden units take " in order.lines()[0]
    assert fit_order("ab", *table) == order, "the same from the same"


def test_few_groups_fit_no_hidden_units() -> None:
    order = fit_order("ab", *both_or_neither(1, FEWEST_FOR_UNITS - 1))
    assert order is not None
    assert order.units is None


def test_hidden_units_that_do_not_help_held_out_groups_are_left_out() -> None:
    rng = np.random.default_rng(0)
    groups = FEWEST_FOR_UNITS
    feature_MF = rng.normal(size=(groups * 2, 12))
    order = fit_order(
        "abcdefghijkl", feature_MF, np.arange(groups + 1) * 2, np.arange(groups) * 2 + rng.integers(0, 2, groups)
    )
    assert order is not None
    assert order.units is None
    assert order.gain == 0


@settings(max_examples=10)
@given(st.integers(0, 2**16))
def test_units_add_their_part_to_the_sum(seed: int) -> None:
    rng = np.random.default_rng(seed)
    weight_HF, bias_H, out_H = rng.normal(size=(4, 3)), rng.normal(size=4), rng.normal(size=4)
    units = HiddenUnits(
        weight=tuple(map(tuple, weight_HF.tolist())), bias=tuple(bias_H.tolist()), out=tuple(out_H.tolist())
    )
    mean_F, deviation_F, weight_F = rng.normal(size=3), rng.uniform(0.5, 2, 3), rng.normal(size=3)
    numbers = {
        "mean": tuple(mean_F.tolist()),
        "deviation": tuple(deviation_F.tolist()),
        "weight": tuple(weight_F.tolist()),
    }
    order = LearntOrder(features=("a", "b", "c"), **numbers, groups=9, loss=1.0, even=2.0, units=units)
    x_XF = rng.normal(size=(2, 5, 3))
    expected = [
        [
            sum(weight_F[f] * z[f] for f in range(3))
            + sum(out_H[h] * max(0.0, sum(weight_HF[h, f] * z[f] for f in range(3)) + bias_H[h]) for h in range(4))
            for z in (row - mean_F) / deviation_F
        ]
        for row in x_XF
    ]
    np.testing.assert_allclose(order.score(x_XF), expected, rtol=1e-9)
