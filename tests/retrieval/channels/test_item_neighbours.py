"""Neighbours of items against brute force on small random logs."""

import numpy as np
import polars as pl
import pytest

from gensr_dist.baselines.untrained.item_words import tfidf_vectors, word_matrices
from gensr_dist.data.words import TextWords
from gensr_dist.retrieval.channels.item_neighbours import covisitation, text_neighbours
from gensr_dist.storage.sparse_lists import heaviest, open_lists, save_lists

ITEMS, USERS = 40, 25


def random_log(seed, events=400):
    rng = np.random.default_rng(seed)
    user_M = np.sort(rng.integers(0, USERS, events))
    return user_M, rng.integers(0, ITEMS, events)


def brute_covisitation(user_M, item_M, reach):
    sequences = {}
    for user, item in zip(user_M.tolist(), item_M.tolist(), strict=True):
        if item not in sequences.setdefault(user, []):
            sequences[user].append(item)
    users = np.zeros(ITEMS)
    pairs = np.zeros((ITEMS, ITEMS))
    for items in sequences.values():
        for place, item in enumerate(items):
            users[item] += 1
            for other_place, other in enumerate(items):
                if 0 < abs(place - other_place) <= reach:
                    pairs[item, other] += 1
    return pairs / np.sqrt(np.maximum(np.outer(users, users), 1))


def cut(dense, most):
    """Each row's highest entries, equal ones in the order of columns."""
    kept = np.zeros_like(dense)
    for row, values in enumerate(dense):
        best = [item for item in np.argsort(-values, kind="stable") if values[item] > 0][:most]
        kept[row, best] = values[best]
    return kept


@pytest.mark.parametrize("reach", [1, 3, 20])
@pytest.mark.parametrize("pairs_at_once", [1, 200, 1 << 24])
def test_covisitation_equals_brute_force(monkeypatch, reach, pairs_at_once):
    monkeypatch.setattr("gensr_dist.retrieval.channels.item_neighbours._BLOCK_PAIRS", pairs_at_once)
    user_M, item_M = random_log(0)
    expected = brute_covisitation(user_M, item_M, reach)
    found = covisitation(user_M, item_M, ITEMS, most=ITEMS, reach=reach)
    np.testing.assert_allclose(found.toarray(), expected, atol=1e-6)
    assert found.dtype == np.float32
    assert found.diagonal().max() == 0


def test_only_the_nearest_are_kept():
    user_M, item_M = random_log(1)
    found = covisitation(user_M, item_M, ITEMS, most=5)
    assert np.diff(found.indptr).max() == 5
    np.testing.assert_allclose(found.toarray(), cut(brute_covisitation(user_M, item_M, 20), 5), atol=1e-6)


def random_texts(seed):
    rng = np.random.default_rng(seed)
    return pl.Series([" ".join(f"w{word}" for word in rng.integers(0, 60, rng.integers(0, 5))) for _ in range(ITEMS)])


def test_text_neighbours_equal_brute_force(monkeypatch):
    monkeypatch.setattr("gensr_dist.retrieval.channels.item_neighbours._BLOCK", 7)
    (text_IW,) = word_matrices(TextWords.of(random_texts(2)))
    vector = tfidf_vectors(text_IW).toarray()
    expected = vector @ vector.T
    np.fill_diagonal(expected, 0)
    np.testing.assert_allclose(text_neighbours(text_IW, most=ITEMS).toarray(), expected, atol=1e-6)
    found = text_neighbours(text_IW, most=2)
    assert np.diff(found.indptr).max() == 2
    np.testing.assert_allclose(np.sort(found.max(axis=1).toarray()), np.sort(expected.max(axis=1)), atol=1e-6)


def test_frequent_words_are_left_out_first():
    texts = pl.Series(["rare often", "rare often", "often x", *["z"] * 97])
    (text_IW,) = word_matrices(TextWords.of(texts))
    every = text_neighbours(text_IW, word_pairs=10**6)
    few = text_neighbours(text_IW, word_pairs=5)
    assert few.nnz == 2
    assert few[0, 1] == pytest.approx(1)
    assert every.nnz == 6


def test_logs_without_events_or_words_have_no_neighbours():
    none = np.empty(0, dtype=np.int64)
    assert covisitation(none, none, 3).nnz == 0
    (text_IW,) = word_matrices(TextWords.of(pl.Series(["", "", ""])))
    assert text_neighbours(text_IW).shape == (3, 3)
    assert text_neighbours(text_IW).nnz == 0


@pytest.mark.parametrize("most", [1, 3, 100])
def test_heaviest_and_saved_lists(tmp_path, most):
    rng = np.random.default_rng(3)
    dense = rng.integers(0, 4, (20, 30)) * (rng.random((20, 30)) < 0.5).astype(float)
    dense[[0, 7, 19]] = 0
    from scipy.sparse import csr_array

    found = heaviest(csr_array(dense), most)
    np.testing.assert_array_equal(found.toarray(), cut(dense, most))
    save_lists(tmp_path, "a", found)
    again = open_lists(tmp_path, "a", 30, "make it again")
    np.testing.assert_array_equal(again.toarray(), found.toarray())
    assert again.data.dtype == np.float32
    assert again.indices.dtype == again.indptr.dtype == np.int32
