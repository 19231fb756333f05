import numpy as np
import pytest

from gensr_dist.data.history_evidence import DECAY
from gensr_dist.retrieval.channels.lightgcn import LightGCNView
from gensr_dist.retrieval.semantic import unit
from tests.retrieval.world import check_scores, newest_first, random_world, vector_index


@pytest.mark.parametrize("k", [1, 10, 500])
@pytest.mark.parametrize("all_", [True, False])
@pytest.mark.parametrize("seed", [0, 1])
def test_scores_are_products_with_the_mean_direction_of_the_history(seed: int, k: int, all_: bool) -> None:
    world = random_world(seed)
    allowed_I = np.ones(world.items, dtype=bool) if all_ else np.random.default_rng(0).random(world.items) < 0.4
    requests = world.requests(seed, allowed_I=None if all_ else allowed_I)
    item_IE = world.item_IE.astype(np.float64)
    user_GE = np.zeros((len(requests), item_IE.shape[1]))
    for group in range(len(requests)):
        for age, item in enumerate(newest_first(requests, group)):
            if item_IE[item].any():
                user_GE[group] += DECAY**age * item_IE[item] / np.linalg.norm(item_IE[item])
        if user_GE[group].any():
            user_GE[group] /= np.linalg.norm(user_GE[group])
    possible_GI = user_GE.any(axis=1)[:, None] & world.item_IE.any(axis=1) & allowed_I
    channel = LightGCNView(vector_index(world.item_IE), world.item_IE)
    check_scores(channel.scores(requests), user_GE @ item_IE.T, possible_GI, k)
    assert not possible_GI[0].any()
    assert possible_GI[1:].any()
    assert channel.empty is None


def test_it_is_empty_where_no_item_has_a_vector() -> None:
    world = random_world(0)
    item_IE = np.zeros_like(world.item_IE)
    channel = LightGCNView(vector_index(item_IE), item_IE)
    assert channel.empty == "no item has a CF vector"
    shape = (9, world.items)
    check_scores(channel.scores(world.requests()), np.zeros(shape), np.zeros(shape, dtype=bool), 4)


def test_unit_vectors_have_length_one_or_zero() -> None:
    vector_GLE = np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32)
    vector_GLE[1, 2] = 0
    length_GL = np.linalg.norm(unit(vector_GLE), axis=2)
    np.testing.assert_allclose(length_GL, [[1, 1, 1], [1, 1, 0]], rtol=1e-6)
