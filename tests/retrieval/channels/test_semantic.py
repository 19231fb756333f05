import numpy as np
import pytest

from gensr_dist.retrieval.channels.semantic import SemanticView
from gensr_dist.retrieval.semantic import pool
from tests.retrieval.world import World, check_scores, random_world, vector_index


def view(world: World) -> SemanticView:
    index = vector_index(pool(world.title_IT, world.weighted_VD))
    return SemanticView(index, world.weighted_VD, world.title_IT)


def plain_texts(token_RT: np.ndarray, weighted_VD: np.ndarray) -> np.ndarray:
    vectors = np.zeros((len(token_RT), weighted_VD.shape[1]))
    for row, tokens in enumerate(token_RT):
        for token in tokens:
            vectors[row] += weighted_VD[token].astype(np.float64)
        if vectors[row].any():
            vectors[row] /= np.linalg.norm(vectors[row])
    return vectors


@pytest.mark.parametrize("k", [1, 10, 500])
@pytest.mark.parametrize("all_", [True, False])
def test_scores_are_cosines_of_texts(k: int, all_: bool) -> None:
    world = random_world(0)
    allowed_I = np.ones(world.items, dtype=bool) if all_ else np.random.default_rng(0).random(world.items) < 0.4
    requests = world.requests(2, search=True, allowed_I=None if all_ else allowed_I)
    assert requests.token_GQ is not None
    query_GD, text_ID = (plain_texts(tokens, world.weighted_VD) for tokens in (requests.token_GQ, world.title_IT))
    possible_GI = query_GD.any(axis=1)[:, None] & text_ID.any(axis=1) & allowed_I
    check_scores(view(world).scores(requests), query_GD @ text_ID.T, possible_GI, k)
    assert not possible_GI[-1].any()
    assert possible_GI[:-1].any()


def test_nothing_is_proposed_without_a_query() -> None:
    world = random_world(0)
    shape = (9, world.items)
    check_scores(view(world).scores(world.requests()), np.zeros(shape), np.zeros(shape, dtype=bool), 4)


def test_it_is_empty_where_no_text_weighs_anything() -> None:
    assert view(random_world(silent=True)).empty == "no item text has a token that weighs anything"
    assert view(random_world()).empty is None
