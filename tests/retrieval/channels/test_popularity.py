import numpy as np
import pytest

from gensr_dist.retrieval.channels.popularity import PopularItems
from tests.retrieval.world import check_scores, random_world


@pytest.mark.parametrize("all_", [True, False])
@pytest.mark.parametrize("k", [1, 20, 500])
def test_every_allowed_item_is_proposed_in_the_order_of_popularity(all_: bool, k: int) -> None:
    world = random_world(0)
    allowed_I = np.ones(world.items, dtype=bool) if all_ else np.random.default_rng(0).random(world.items) < 0.3
    requests = world.requests(allowed_I=None if all_ else allowed_I)
    scores = PopularItems(world.popularity_I.astype(np.uint32)).scores(requests)
    shape = (len(requests), world.items)
    expected_GI = np.broadcast_to(np.log1p(world.popularity_I), shape)
    check_scores(scores, expected_GI, np.broadcast_to(allowed_I, shape), k)
    order = sorted(np.flatnonzero(allowed_I).tolist(), key=lambda item: (-world.popularity_I[item], item))
    assert (scores.best(k).item_GK == order[:k]).all()


def test_items_that_nobody_chose_are_proposed_last() -> None:
    scores = PopularItems(np.array([0, 3, 0, 7], dtype=np.uint32)).scores(random_world(0).requests(groups=1))
    assert scores.best(9).item_GK.tolist() == [[3, 1, 0, 2]]
