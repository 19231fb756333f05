"""The click graph against its definition, one query and one item at a time."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gensr_dist.data.words import query_words
from gensr_dist.retrieval.channels import query_clicks
from gensr_dist.retrieval.channels.query_clicks import FILES, ClickGraph
from tests.retrieval.world import World, random_world

Vector = Mapping[str, float]


def dot(one: Vector, other: Vector) -> float:
    return sum(value * other.get(word, 0) for word, value in one.items())


def plain_match(world: World, text: str) -> np.ndarray:
    """`ClickGraph.match` by its definition."""
    words = [set(query.split()) for query in world.queries]
    found_IQ = world.sources.found_IQ.toarray()
    asked = found_IQ.sum(axis=0) > 0
    holders = {
        word: sum(word in own for own, was in zip(words, asked, strict=True) if was) for word in set().union(*words)
    }
    idf = {word: np.log1p(asked.sum() / count) for word, count in holders.items() if count}

    def unit(own: set[str]) -> Vector:
        vector = {word: idf[word] for word in own if word in idf}
        length = np.sqrt(sum(value**2 for value in vector.values()))
        return {word: value / length for word, value in vector.items()}

    queries = [unit(own) if was else {} for own, was in zip(words, asked, strict=True)]
    typed = unit(set(text.split()))
    likeness = np.array([dot(typed, query) for query in queries])
    if _tied(likeness):  # in single precision another one of two queries as near may be kept
        return np.full(world.items, np.nan)
    likeness[np.argsort(-likeness, kind="stable")[query_clicks.NEAR :]] = 0
    likeness **= query_clicks.SHARPNESS
    share_QI = found_IQ.T / np.maximum(found_IQ.sum(axis=0), 1)[:, None]
    match = np.zeros(world.items)
    for item in range(world.items):
        total: dict[str, float] = {}
        for query, vector in enumerate(queries):
            for word, value in vector.items():
                total[word] = total.get(word, 0) + found_IQ[item, query] * value
        length = np.sqrt(sum(value**2 for value in total.values()))
        match[item] = dot(typed, total) / length if length else 0
    if likeness.any():
        match += query_clicks.CLICKS * likeness / likeness.sum() @ share_QI
    return match


def _tied(likeness: np.ndarray) -> bool:
    """Whether the last query that is kept is as near as the first that is not."""
    falling = -np.sort(-likeness)
    near = query_clicks.NEAR
    return len(falling) > near and falling[near] > 0 and falling[near - 1] - falling[near] < 1e-6


@settings(max_examples=10)
@given(seed=st.integers(0, 2**16), near=st.sampled_from([2, 20]))
def test_matches_equal_the_definition(seed: int, near: int) -> None:
    world = random_world(seed, items=30, queries=12)
    typed = [*world.queries[:6], world.texts[0], f"{world.queries[1]} {world.texts[2]}", "unheard of", ""]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(query_clicks, "NEAR", near)
        match_GI = world.arrays.clicks.match(query_words(typed, world.arrays.hash_W))
        expected_GI = np.stack([plain_match(world, text) for text in typed])
    sure_G = ~np.isnan(expected_GI).any(axis=1)
    assert sure_G.sum() > len(typed) // 3
    np.testing.assert_allclose(match_GI.toarray()[sure_G], expected_GI[sure_G], atol=1e-5)
    assert (match_GI.data > 0).all()
    assert expected_GI[sure_G].any()
    assert not match_GI.toarray()[-2:].any()


def test_queries_that_were_never_asked_are_not_known() -> None:
    """Words of such a query alone match nothing."""
    world = random_world(0, queries=2)
    assert not world.sources.found_IQ.toarray()[:, 1].any()
    only = set(world.queries[1].split()) - set(world.queries[0].split())
    assert only
    assert not world.arrays.clicks.match(query_words([" ".join(only)], world.arrays.hash_W)).nnz
    assert world.arrays.clicks.match(query_words([world.queries[0]], world.arrays.hash_W)).nnz


def test_a_saved_graph_matches_alike(tmp_path: Path) -> None:
    world = random_world(3)
    world.arrays.clicks.save(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == set(FILES)
    word_GW = query_words(world.queries, world.arrays.hash_W)
    again = ClickGraph.open(tmp_path, world.items)
    np.testing.assert_array_equal(again.match(word_GW).toarray(), world.arrays.clicks.match(word_GW).toarray())


def test_it_is_empty_where_nothing_was_searched() -> None:
    assert random_world(silent=True).arrays.clicks.empty == "no training search has a query with words"
    assert random_world().arrays.clicks.empty is None
