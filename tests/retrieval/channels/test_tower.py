import numpy as np
import pytest

from gensr_dist.retrieval.channels.tower import MatchTower
from gensr_dist.retrieval.requests import Requests
from tests.retrieval.world import check_scores, random_world, vector_index


@pytest.mark.parametrize("k", [1, 10, 500])
@pytest.mark.parametrize("all_", [True, False])
@pytest.mark.parametrize("search", [True, False])
def test_scores_are_products_of_both_towers(k: int, all_: bool, search: bool) -> None:
    world = random_world(0)
    allowed_I = np.ones(world.items, dtype=bool) if all_ else np.random.default_rng(0).random(world.items) < 0.4
    requests = world.requests(3, search=search, allowed_I=None if all_ else allowed_I)
    user_GH = world.users(requests).astype(np.float64)
    possible_GI = user_GH.any(axis=1)[:, None] & world.item_IH.any(axis=1) & allowed_I
    channel = MatchTower(vector_index(world.item_IH), world.item_IH, world.users)
    check_scores(channel.scores(requests), user_GH @ world.item_IH.T.astype(np.float64), possible_GI, k)
    assert possible_GI[0].any() == search  # of the first group only the query is known
    assert channel.empty is None


@pytest.mark.parametrize("width", [0, 6])
def test_a_model_without_towers_is_not_asked(width: int) -> None:
    world = random_world(0)
    item_IH = np.zeros((world.items, width), dtype=np.float32)

    def users(_: Requests) -> np.ndarray:
        raise AssertionError("there are no towers")

    channel = MatchTower(vector_index(item_IH), item_IH, users)
    assert channel.empty == "the model has no match towers"
    shape = (9, world.items)
    check_scores(channel.scores(world.requests()), np.zeros(shape), np.zeros(shape, dtype=bool), 4)
