"""Reciprocal ranks against a plain loop."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gensr_dist.retrieval.fusion.reciprocal_ranks import RANK, reciprocal_ranks


def proposals(rng, groups, items, depth):
    found = np.argsort(rng.random((groups, items)), axis=1)[:, :depth]
    for group, length in enumerate(rng.integers(0, depth + 1, groups)):
        found[group, length:] = -1
    return found


def plain(parts, weights, k):
    fused = []
    for group in range(len(parts[0])):
        gain = {}
        for part, weight in zip(parts, weights, strict=True):
            for rank, item in enumerate(part[group].tolist(), 1):
                if item >= 0:
                    gain[item] = gain.get(item, 0) + weight / (RANK + rank)
        best = sorted(gain, key=lambda item: (-gain[item], item))[:k]
        fused.append(best + [-1] * (k - len(best)))
    return np.array(fused)


@settings(max_examples=50)
@given(seed=st.integers(0, 2**16), channels=st.integers(1, 4), k=st.integers(1, 60))
def test_fusion_equals_a_plain_loop(seed, channels, k):
    rng = np.random.default_rng(seed)
    parts = [proposals(rng, 6, 40, int(rng.integers(1, 30))) for _ in range(channels)]
    weights = rng.choice([0.1, 0.5, 1], channels).tolist()
    np.testing.assert_array_equal(reciprocal_ranks(parts, weights, k), plain(parts, weights, k))


def test_fusion_of_one_channel_is_that_channel():
    found = proposals(np.random.default_rng(1), 5, 30, 20)
    np.testing.assert_array_equal(reciprocal_ranks([found], [1], 20), found)


def test_a_group_alone_is_as_in_a_batch():
    rng = np.random.default_rng(2)
    parts = [proposals(rng, 8, 30, 20) for _ in range(3)]
    together = reciprocal_ranks(parts, [1, 1, 0.3], 25)
    for group in range(8):
        alone = reciprocal_ranks([part[group : group + 1] for part in parts], [1, 1, 0.3], 25)
        np.testing.assert_array_equal(alone, together[group : group + 1])


@pytest.mark.parametrize("groups", [0, 3])
def test_nothing_proposed_is_all_padding(groups):
    assert (reciprocal_ranks([np.full((groups, 4), -1)], [1], 3) == np.full((groups, 3), -1)).all()
