"""Lists over the log's items and added ones: those of a log that had had the items, without an event."""

import dataclasses
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy.sparse import csr_array

from gensr_dist.data.words import query_words
from gensr_dist.retrieval.added.text_lists import TextLists, words_of
from gensr_dist.retrieval.channels.sources import ChannelSources
from gensr_dist.retrieval.channels.stage import ChannelArrays
from tests.retrieval.world import World, random_world

NEW = ["w3 w4 zebra", "aardvark", "", "w5 w5 w9", "zebra w7"]


def with_added(world: World) -> ChannelArrays:
    texts = pl.Series([*world.texts, *NEW], dtype=pl.String)
    return TextLists.build(*words_of(texts, pl.Series(world.queries, dtype=pl.String))).joined(world.arrays)


def had_been_there(world: World) -> ChannelArrays:
    found_IQ = world.sources.found_IQ
    more = csr_array(
        (found_IQ.data, found_IQ.indices, np.append(found_IQ.indptr, [found_IQ.indptr[-1]] * len(NEW))),
        shape=(found_IQ.shape[0] + len(NEW), found_IQ.shape[1]),
    )
    return ChannelArrays.build(
        ChannelSources.from_texts(
            pl.Series([*world.texts, *NEW], dtype=pl.String),
            pl.Series(world.queries, dtype=pl.String),
            user_M=world.sources.user_M,
            item_M=world.sources.item_M,
            time_M=world.sources.time_M,
            found_IQ=more,
            repeated=world.sources.repeated,
        )
    )


@pytest.mark.parametrize("silent", [False, True])
def test_they_are_those_of_a_log_that_had_had_the_items(silent: bool) -> None:
    world = random_world(3, silent=silent)
    found, expected = with_added(world), had_been_there(world)
    np.testing.assert_array_equal(found.hash_W, expected.hash_W)
    np.testing.assert_array_equal(found.clicks.idf_W, expected.clicks.idf_W)
    lists = [
        *((getattr(found, name), getattr(expected, name)) for name in ("covisited_II", "text_II", "bm25_WI")),
        *((getattr(found.clicks, n), getattr(expected.clicks, n)) for n in ("found_WI", "query_WQ", "found_QI")),
    ]
    for one, other in lists:
        assert one.shape == other.shape
        for part in ("data", "indices", "indptr"):
            np.testing.assert_array_equal(getattr(one, part), getattr(other, part))
    assert found.entries() == expected.entries()


def test_words_of_new_items_alone_can_be_searched() -> None:
    world = random_world(3)
    word_GW = query_words(["aardvark zebra"], with_added(world).hash_W)
    assert word_GW.nnz == 2
    assert query_words(["aardvark zebra"], world.arrays.hash_W).nnz == 0
    match_GI = csr_array(word_GW @ with_added(world).bm25_WI)
    assert sorted(match_GI.indices.tolist()) == [world.items, world.items + 1, world.items + 4]


def test_what_is_saved_is_opened_and_entries_of_events_are_not_copied(tmp_path: Path) -> None:
    world = random_world(3)
    texts = pl.Series([*world.texts, *NEW], dtype=pl.String)
    lists = TextLists.build(*words_of(texts, pl.Series(world.queries, dtype=pl.String)))
    lists.save(tmp_path)
    again = TextLists.open(tmp_path, len(texts))
    for field in dataclasses.fields(TextLists):
        one, other = getattr(lists, field.name), getattr(again, field.name)
        assert (one != other).nnz == 0 if field.name != "hash_W" else (one == other).all()
    joined = again.joined(world.arrays)
    assert np.shares_memory(joined.covisited_II.data, world.arrays.covisited_II.data)
    assert np.shares_memory(joined.clicks.found_WI.indices, world.arrays.clicks.found_WI.indices)
