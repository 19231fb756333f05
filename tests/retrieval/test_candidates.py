"""Candidate generation: against plain fusions, with reciprocal ranks and with fitted weights.

Dimensions: G groups, K candidates, F channels that score, I items.
"""

from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gensr_dist.data.events import Behaviour
from gensr_dist.retrieval import candidates as module
from gensr_dist.retrieval.candidates import RECIPROCAL, CandidateGenerator, Candidates
from gensr_dist.retrieval.channels.channel_set import ChannelSet
from gensr_dist.retrieval.fusion.learnt_order import LearntOrder
from gensr_dist.retrieval.fusion.reciprocal_ranks import RANK
from gensr_dist.retrieval.requests import Requests
from tests.retrieval.world import World, random_world


@pytest.fixture(scope="module")
def world() -> World:
    return random_world(0)


@pytest.fixture(scope="module")
def channels(world: World) -> ChannelSet:
    return world.channels()


@pytest.fixture(scope="module")
def fusion(channels: ChannelSet) -> Mapping[Behaviour, LearntOrder]:
    """Random weights."""
    rng = np.random.default_rng(0)
    orders = {}
    for task in Behaviour:
        features = tuple(channels.scoring(task))
        mean, deviation, weight = (tuple(rng.random(len(features)).tolist()) for _ in range(3))
        orders[task] = LearntOrder(
            features=features, mean=mean, deviation=deviation, weight=weight, groups=100, loss=1.0, even=2.0
        )
    return orders


def generator(
    world: World, channels: ChannelSet, fusion: Mapping[Behaviour, LearntOrder] | None, *, exclude_seen: bool = True
) -> CandidateGenerator:
    return CandidateGenerator(channels, world.items, exclude_seen=exclude_seen, fusion=fusion)


def seen_of(requests: Requests, group: int, exclude_seen: bool = True) -> set[int]:
    own = requests.item_M[requests.start_G[group] : requests.start_G[group + 1]]
    return set(own.tolist()) if exclude_seen else set()


def plain(found: CandidateGenerator, requests: Requests, seen: set[int], k: int) -> list[int]:
    """The candidates of one group: channels asked alone, fused by loops, and filled up."""
    proposals = {
        name: [i for i in channel.scores(requests).best(found.items).item_GK[0].tolist() if i >= 0 and i not in seen]
        for name, channel in found.channels.proposing(requests.task).items()
    }
    order = found.fusion.get(requests.task)
    gain: dict[int, float] = {}
    if order is None:
        for name, weight in RECIPROCAL[requests.task].items():
            for rank, item in enumerate(proposals[name][: module.DEPTH], 1):
                gain[item] = gain.get(item, 0) + weight / (RANK + rank)
    else:
        union = sorted({item for items in proposals.values() for item in items[: max(module.DEPTH, k)]})
        scores = [
            channel.scores(requests).of(np.array([union or [0]]))[0].astype(np.float64)
            for channel in found.channels.scoring(requests.task).values()
        ]
        for place, item in enumerate(union):
            gain[item] = sum(
                weight * (scores[f][place] - mean) / deviation
                for f, (weight, mean, deviation) in enumerate(
                    zip(order.weight, order.mean, order.deviation, strict=True)
                )
            )
    fused = sorted(gain, key=lambda item: (-gain[item], item))
    if len(fused) >= k:
        return fused[:k]
    if requests.task == Behaviour.SEARCH:
        more = plain(found, requests.without_queries(), seen, k)
    else:
        more = [i for i in found.channels.popular.popular_I.tolist() if i not in seen]
        if requests.allowed_I is not None:
            more = [item for item in more if requests.allowed_I[item]]
    return list(dict.fromkeys(fused + more))[:k]


@pytest.mark.parametrize("fitted", [False, True])
@pytest.mark.parametrize("search", [False, True])
@pytest.mark.parametrize("exclude_seen", [False, True])
@pytest.mark.parametrize(("k", "depth"), [(1, 500), (24, 500), (118, 500), (200, 500), (30, 8)])
def test_candidates_equal_a_plain_fusion(
    world: World,
    channels: ChannelSet,
    fusion: Mapping[Behaviour, LearntOrder],
    monkeypatch: pytest.MonkeyPatch,
    fitted: bool,
    search: bool,
    exclude_seen: bool,
    k: int,
    depth: int,
) -> None:
    monkeypatch.setattr(module, "DEPTH", depth if depth >= k else k)
    allowed_I = np.random.default_rng(k).random(world.items) < 0.8 if k == 24 else None
    requests = world.requests(1, search=search, allowed_I=allowed_I)
    own = generator(world, channels, fusion if fitted else None, exclude_seen=exclude_seen)
    found = own.candidates(requests, k)
    assert found.item_GK.shape == (len(requests), k)
    for group in range(len(requests)):
        alone = requests.take(np.array([group]))
        expected = plain(own, alone, seen_of(requests, group, exclude_seen), k)
        assert found.item_GK[group].tolist() == expected + [-1] * (k - len(expected))
    check_scores_of(channels, requests, found)


def check_scores_of(channels: ChannelSet, requests: Requests, found: Candidates) -> None:
    real_GK = found.item_GK >= 0
    for place, channel in enumerate(channels.scoring(requests.task).values()):
        score_GK = channel.scores(requests).of(found.item_GK)
        np.testing.assert_allclose(found.score_GKF[..., place][real_GK], score_GK[real_GK], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("fitted", [False, True])
@settings(max_examples=25)
@given(
    seed=st.integers(0, 2**16),
    k=st.integers(1, 150),
    search=st.booleans(),
    exclude_seen=st.booleans(),
    share=st.sampled_from([None, 0.0, 0.05, 0.5]),
)
def test_candidates_are_distinct_unseen_allowed_and_all_there(
    world: World,
    channels: ChannelSet,
    fusion: Mapping[Behaviour, LearntOrder],
    fitted: bool,
    seed: int,
    k: int,
    search: bool,
    exclude_seen: bool,
    share: float | None,
) -> None:
    allowed_I = None if share is None else np.random.default_rng(seed).random(world.items) < share
    requests = world.requests(seed, search=search, allowed_I=allowed_I)
    own = generator(world, channels, fusion if fitted else None, exclude_seen=exclude_seen)
    found = own.candidates(requests, k)
    possible = set(range(world.items) if allowed_I is None else np.flatnonzero(allowed_I).tolist())
    for group, items in enumerate(found.item_GK.tolist()):
        left = possible - seen_of(requests, group, exclude_seen)
        real = [item for item in items if item >= 0]
        assert items == real + [-1] * (k - len(real))
        assert len(set(real)) == len(real) == min(k, len(left))
        assert set(real) <= left
    for proposed_GD in found.proposals.values():
        for group, items in enumerate(proposed_GD.tolist()):
            real = [item for item in items if item >= 0]
            assert items[: len(real)] == real
            assert len(set(real)) == len(real)
            assert set(real) <= possible - seen_of(requests, group, exclude_seen)


@pytest.mark.parametrize("fitted", [False, True])
@pytest.mark.parametrize("search", [False, True])
def test_candidates_do_not_depend_on_the_other_groups(
    world: World, channels: ChannelSet, fusion: Mapping[Behaviour, LearntOrder], fitted: bool, search: bool
) -> None:
    requests = world.requests(4, groups=25, search=search)
    own = generator(world, channels, fusion if fitted else None)
    together = own.candidates(requests, 40)
    for group in range(25):
        alone = own.candidates(requests.take(np.array([group])), 40)
        np.testing.assert_array_equal(alone.item_GK[0], together.item_GK[group])
        np.testing.assert_allclose(alone.score_GKF[0], together.score_GKF[group], rtol=1e-5, atol=1e-5)
        for name, proposed_GD in together.proposals.items():
            np.testing.assert_array_equal(alone.proposals[name][0], proposed_GD[group])


@pytest.mark.parametrize("fitted", [False, True])
@pytest.mark.parametrize("search", [False, True])
@pytest.mark.parametrize("depth", [20, 500])
def test_more_candidates_begin_with_the_fewer_ones(
    world: World,
    channels: ChannelSet,
    fusion: Mapping[Behaviour, LearntOrder],
    monkeypatch: pytest.MonkeyPatch,
    fitted: bool,
    search: bool,
    depth: int,
) -> None:
    monkeypatch.setattr(module, "DEPTH", depth)
    requests, own = world.requests(2, search=search), generator(world, channels, fusion if fitted else None)
    many_GK = own.candidates(requests, min(depth, world.items)).item_GK
    for k in (1, 7, 19):
        np.testing.assert_array_equal(own.candidates(requests, k).item_GK, many_GK[:, :k])


def test_someone_without_history_and_known_words_gets_popular_items(world: World, channels: ChannelSet) -> None:
    requests = world.requests(0, groups=1, search=True)  # its only query is unheard of
    assert not len(requests.item_M)
    order = np.argsort(-world.popularity_I, kind="stable")
    for asked in (requests, requests.without_queries()):
        assert generator(world, channels, None).candidates(asked, 30).item_GK[0].tolist() == order[:30].tolist()


def test_a_silent_log_is_answered(fusion: Mapping[Behaviour, LearntOrder]) -> None:
    silent = random_world(silent=True)
    for orders in (None, fusion):
        own = generator(silent, silent.channels(), orders)
        for search in (False, True):
            requests = silent.requests(0, search=search)
            item_GK = own.candidates(requests, 20).item_GK
            assert (item_GK >= 0).all()
            assert np.isfinite(own.candidates(requests, 20).score_GKF).all()


@pytest.mark.parametrize("search", [False, True])
@pytest.mark.parametrize("depth", [5, 500])
def test_everything_proposed_is_what_any_channel_proposes(
    world: World, channels: ChannelSet, monkeypatch: pytest.MonkeyPatch, search: bool, depth: int
) -> None:
    monkeypatch.setattr(module, "DEPTH", depth)
    requests = world.requests(3, search=search)
    found = generator(world, channels, None).proposed(requests, 5)
    assert set(found.proposals) == set(channels.proposing(requests.task))
    for group, items in enumerate(found.item_GK.tolist()):
        union = {item for proposed_GD in found.proposals.values() for item in proposed_GD[group].tolist()} - {-1}
        real = [item for item in items if item >= 0]
        assert len(set(real)) == len(real)
        assert set(real) == union
        assert not union & seen_of(requests, group)
        assert items == real + [-1] * (len(items) - len(real))
    assert max(len(proposed_GD[0]) for proposed_GD in found.proposals.values()) == depth
    check_scores_of(channels, requests, found)


@settings(max_examples=40)
@given(seed=st.integers(0, 2**16), depth=st.integers(1, 20), k=st.integers(1, 30))
def test_ranks_in_a_channel_equal_a_loop(seed: int, depth: int, k: int) -> None:
    rng = np.random.default_rng(seed)

    def drawn(width: int) -> np.ndarray:
        item_GW = np.argsort(rng.random((6, 40)), axis=1)[:, :width]
        for group, length in enumerate(rng.integers(0, width + 1, 6)):
            item_GW[group, length:] = -1
        return item_GW

    item_GK, proposed_GD = drawn(k), drawn(depth)
    found = Candidates(item_GK, np.zeros((6, k, 1), dtype=np.float32), {"one": proposed_GD})
    for items, proposed, ranks in zip(item_GK.tolist(), proposed_GD.tolist(), found.rank("one").tolist(), strict=True):
        assert ranks == [1 + proposed.index(item) if item >= 0 and item in proposed else 0 for item in items]


def test_features_are_the_channels_that_score(world: World, channels: ChannelSet) -> None:
    for task in Behaviour:
        assert generator(world, channels, None).features(task) == tuple(channels.scoring(task))
        assert set(RECIPROCAL[task]) <= set(channels.proposing(task))
