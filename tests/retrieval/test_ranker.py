"""The order of answers, with and without a fitted order, over a scorer that is known."""

from typing import Any, cast

import numpy as np
import pytest

from gensr_dist.data.events import Behaviour
from gensr_dist.retrieval.candidates import CandidateGenerator
from gensr_dist.retrieval.fusion.learnt_order import LearntOrder
from gensr_dist.retrieval.ranker import GENSR, Ranker, with_log_odds
from gensr_dist.retrieval.requests import Requests
from tests.retrieval.world import World, random_world


class KnownScorer:
    """Few distinct log-odds, so that they tie."""

    def log_odds(self, requests: Requests, item_GK: np.ndarray) -> np.ndarray:
        return (item_GK * 7 % 5).astype(np.float32)


@pytest.fixture(scope="module")
def world() -> World:
    return random_world(0)


@pytest.fixture(scope="module")
def generator(world: World) -> CandidateGenerator:
    return CandidateGenerator(world.channels(), world.items, exclude_seen=True)


def order_of(generator: CandidateGenerator, task: Behaviour) -> LearntOrder:
    features = (*generator.features(task), GENSR)
    rng = np.random.default_rng(0)
    mean, deviation, weight = (tuple((0.1 + rng.random(len(features))).tolist()) for _ in range(3))
    return LearntOrder(features=features, mean=mean, deviation=deviation, weight=weight, groups=9, loss=1.0, even=2.0)


@pytest.mark.parametrize("search", [False, True])
@pytest.mark.parametrize("fitted", [False, True])
@pytest.mark.parametrize("k", [10, 118])
def test_answers_are_ordered_by_the_weighted_sum(
    world: World, generator: CandidateGenerator, search: bool, fitted: bool, k: int
) -> None:
    requests = world.requests(1, search=search)
    order = order_of(generator, requests.task)
    ranker = Ranker(generator, cast(Any, KnownScorer()), {requests.task: order} if fitted else {})
    ranked = ranker.rank(requests, k)
    candidates = generator.candidates(requests, k)
    np.testing.assert_array_equal(ranked.candidates.item_GK, candidates.item_GK)
    for group, item_K in enumerate(candidates.item_GK):
        real_K = item_K >= 0
        expected_K = (item_K * 7 % 5).astype(np.float64)
        if fitted:
            feature_KF = np.column_stack([candidates.score_GKF[group], expected_K])
            expected_K = ((feature_KF - np.array(order.mean)) / np.array(order.deviation)) @ np.array(order.weight)
        np.testing.assert_allclose(ranked.score_GK[group, real_K], expected_K[real_K], rtol=1e-9)
        assert np.isneginf(ranked.score_GK[group, ~real_K]).all()
        places = sorted(range(k), key=lambda place: (-ranked.score_GK[group, place], place))
        assert ranked.order_GK[group].tolist() == places
    if k == 118:
        assert (candidates.item_GK < 0).any()


def test_an_order_of_the_other_task_is_not_used(world: World, generator: CandidateGenerator) -> None:
    orders = {Behaviour.SEARCH: order_of(generator, Behaviour.SEARCH)}
    ranker = Ranker(generator, cast(Any, KnownScorer()), orders)
    ranked = ranker.rank(world.requests(1), 10)
    np.testing.assert_array_equal(ranked.score_GK, ranked.log_odds_GK)


def test_log_odds_are_the_last_feature(world: World, generator: CandidateGenerator) -> None:
    found = generator.candidates(world.requests(1), 6)
    log_odds_GK = np.random.default_rng(0).normal(size=found.item_GK.shape).astype(np.float32)
    feature_GKF = with_log_odds(found, log_odds_GK)
    assert feature_GKF.dtype == np.float32
    np.testing.assert_array_equal(feature_GKF[..., :-1], found.score_GKF)
    np.testing.assert_array_equal(feature_GKF[..., -1], log_odds_GK)
