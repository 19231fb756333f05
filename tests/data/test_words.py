import numpy as np

from gensr_dist.data.words import probe, query_words
from tests.retrieval.world import random_world


def test_words_are_looked_up_whatever_case_and_punctuation() -> None:
    world = random_world(0)
    one, two = sorted(set(" ".join(world.texts).split()))[:2]
    hash_W = world.arrays.hash_W
    found_GW = query_words([f"{one.upper()} {one}, {two}!", "", "zzz", one], hash_W)
    assert found_GW.shape == (4, len(hash_W))
    np.testing.assert_array_equal(np.diff(found_GW.indptr), [2, 0, 0, 1])
    assert (found_GW.data == 1).all()
    assert found_GW[0].toarray()[found_GW[3].toarray() > 0] == 1


def test_an_index_without_words_knows_none() -> None:
    assert query_words(["w1"], np.empty(0, dtype=np.uint64)).shape == (1, 0)
    assert query_words([], random_world(0).arrays.hash_W).shape[0] == 0


def test_the_probe_is_a_number_that_stays() -> None:
    assert probe() == probe()
    assert int(probe()) > 0
