"""Neighbours of the newest history against sums over dense closenesses."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

from gensr_dist.data.history_evidence import DECAY, LATEST
from gensr_dist.retrieval.channels.neighbours import POPULARITY, Neighbours
from tests.retrieval.world import World, check_scores, newest_first, random_world

PARTS = (0.7, 0.3)


def neighbours(world: World, decay: float = DECAY) -> Neighbours:
    parts = list(zip(PARTS, (world.arrays.covisited_II, world.arrays.text_II), strict=True))
    return Neighbours(parts, np.log1p(world.popularity_I).astype(np.float32), empty="none", decay=decay)


def closeness(world: World) -> np.ndarray:
    parts = world.arrays.covisited_II, world.arrays.text_II
    return sum(weight * part.toarray().astype(np.float64) for weight, part in zip(PARTS, parts, strict=True))


@settings(max_examples=15)
@given(seed=st.integers(0, 2**16), k=st.sampled_from([1, 6, 60]), decay=st.sampled_from([DECAY, LATEST]))
def test_scores_equal_brute_force(seed: int, k: int, decay: float) -> None:
    world = random_world(seed, items=50, events=200)
    allowed_I = np.random.default_rng(seed).random(50) < 0.7 if seed % 2 else None
    requests = world.requests(seed, allowed_I=allowed_I)
    close_II, taste_GI = closeness(world), np.zeros((len(requests), 50))
    for group in range(len(requests)):
        for age, item in enumerate(newest_first(requests, group)):
            taste_GI[group] += decay**age * close_II[item]
    channel = neighbours(world, decay)
    np.testing.assert_allclose(channel.taste(requests).toarray(), taste_GI, atol=1e-5)
    possible_GI = taste_GI > 0
    if allowed_I is not None:
        possible_GI &= allowed_I
    check_scores(channel.scores(requests), taste_GI + POPULARITY * np.log1p(world.popularity_I), possible_GI, k)
    assert possible_GI[1:].any()
    assert not possible_GI[0].any()


def test_taste_does_not_depend_on_the_other_groups() -> None:
    world = random_world(1)
    requests, channel = world.requests(1, groups=12), neighbours(world)
    together_GI = channel.taste(requests).toarray()
    for group in range(12):
        alone_GI = channel.taste(requests.take(np.array([group]))).toarray()
        np.testing.assert_array_equal(alone_GI[0], together_GI[group])


@pytest.mark.parametrize("some", [True, False])
def test_it_is_empty_where_no_part_has_an_entry(some: bool) -> None:
    nothing = csr_array((3, 3), dtype=np.float32)
    something = csr_array(np.eye(3, k=1, dtype=np.float32)) if some else nothing
    channel = Neighbours([(1, nothing), (1, something)], np.zeros(3, dtype=np.float32), empty="no neighbour")
    assert channel.empty == (None if some else "no neighbour")
