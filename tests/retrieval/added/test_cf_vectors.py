"""CF vectors of items without events, against the formula."""

import numpy as np
import pytest

from gensr_dist.retrieval.added import cf_vectors
from gensr_dist.retrieval.added.cf_vectors import typical_length, vectors_by_text
from gensr_dist.retrieval.semantic import pool
from tests.retrieval.world import random_world, vector_index

NEW = 9


@pytest.mark.parametrize("nearest", [1, 4, 20, 200])
@pytest.mark.parametrize("block", [2, 100])
def test_vectors_are_those_of_the_nearest_texts(monkeypatch: pytest.MonkeyPatch, nearest: int, block: int) -> None:
    monkeypatch.setattr(cf_vectors, "NEAREST", nearest)
    monkeypatch.setattr(cf_vectors, "_ITEMS", block)
    world = random_world(2)
    text_ID = pool(world.title_IT, world.weighted_VD)
    title_AT = np.random.default_rng(1).integers(3, 60, (NEW, 5))
    title_AT[-1] = 0
    found = vectors_by_text(title_AT, vector_index(text_ID), world.weighted_VD, world.item_IE)
    length = np.median(np.linalg.norm(world.item_IE[3:], axis=1))  # the first three are zero
    assert found.shape == (NEW, 8)
    assert found.dtype == np.float32
    directions = world.item_IE / np.maximum(np.linalg.norm(world.item_IE, axis=1, keepdims=True), 1e-9)
    for title_T, found_E in zip(title_AT[:-1], found[:-1], strict=True):
        cosine_I = text_ID.astype(np.float64) @ pool(title_T[None], world.weighted_VD)[0]
        near = np.argsort(-cosine_I, kind="stable")[:nearest]
        mean_E = (np.maximum(cosine_I[near, None], 0) ** 2 * directions[near]).sum(axis=0)
        norm = np.linalg.norm(mean_E)
        np.testing.assert_allclose(found_E, mean_E / norm * length if norm > 0 else 0 * mean_E, atol=1e-4)
    assert not found[-1].any()
    assert found.any(axis=1).sum() >= NEW - 3


def test_a_catalogue_without_vectors_gives_none() -> None:
    world = random_world(2)
    index = vector_index(pool(world.title_IT, world.weighted_VD))
    nothing_IE = np.zeros_like(world.item_IE)
    assert typical_length(nothing_IE) == 0
    assert not vectors_by_text(world.title_IT[:3], index, world.weighted_VD, nothing_IE).any()
