"""Weights of tokens by their titles, against counting in sets."""

import math
from collections import Counter

import numpy as np
import pytest

from gensr_dist.data import items
from gensr_dist.data.items import PAD, UNKNOWN, ItemStore, token_idf

VOCABULARY = 12


def random_titles(seed: int, count: int, width: int = 5) -> np.ndarray:
    """Titles of 0 to `width` tokens, many of them twice in a title; the last token of the vocabulary is in none."""
    random = np.random.default_rng(seed)
    token_IT = random.integers(1, VOCABULARY - 1, (count, width), dtype=np.int32)
    length_I1 = random.integers(0, width + 1, (count, 1))
    return np.where(np.arange(width) < length_I1, token_IT, PAD).astype(np.int32)


def reference(title_IT: np.ndarray, vocabulary: int) -> list[float]:
    titles = Counter(token for title_T in title_IT.tolist() for token in set(title_T))
    idf = [math.log((1 + len(title_IT)) / (1 + titles[token])) for token in range(vocabulary)]
    idf[PAD] = idf[UNKNOWN] = 0.0
    return idf


@pytest.mark.parametrize("block", [1, 3, 8, 1_000])
@pytest.mark.parametrize("count", [1, 8, 9, 50])
def test_is_that_of_the_sets_of_tokens_whatever_the_blocks(
    monkeypatch: pytest.MonkeyPatch, block: int, count: int
) -> None:
    monkeypatch.setattr(items, "_BLOCK", block)
    title_IT = random_titles(count, count)
    assert token_idf(title_IT, VOCABULARY) == pytest.approx(reference(title_IT, VOCABULARY), rel=1e-6)


def test_of_a_catalogue_written_down() -> None:
    title_IT = np.array([[3, 3, 3], [4, 3, 0], [2, 2, 4], [0, 0, 0]], dtype=np.int32)
    idf_V = token_idf(title_IT, 6)
    assert idf_V.dtype == np.float32
    once_a_title = math.log(5 / 3)
    assert idf_V == pytest.approx([0, math.log(5), 0, once_a_title, once_a_title, math.log(5)], rel=1e-6)


def test_padding_and_unknown_weigh_nothing_however_rare_they_are() -> None:
    for title_IT in (random_titles(0, 20), np.full((20, 2), 5, dtype=np.int32), np.zeros((20, 2), dtype=np.int32)):
        assert token_idf(title_IT, VOCABULARY)[[PAD, UNKNOWN]].tolist() == [0, 0]


def test_a_token_of_no_title_weighs_most_and_one_of_every_title_nothing() -> None:
    title_IT = random_titles(1, 40)
    title_IT[:, 0] = 7
    idf_V = token_idf(title_IT, VOCABULARY)
    assert idf_V[-1] == pytest.approx(math.log(41))
    assert idf_V[-1] == idf_V.max() > np.sort(idf_V)[-2]  # all others occur
    assert idf_V[7] == 0
    assert (idf_V >= 0).all()


def test_a_title_less_catalogue_weighs_nothing() -> None:
    assert token_idf(np.zeros((0, 4), dtype=np.int32), VOCABULARY).tolist() == [0] * VOCABULARY
    absent = math.log(4)
    expected = [0, absent, 0, *[absent] * (VOCABULARY - 3)]
    assert token_idf(np.zeros((3, 0), dtype=np.int32), VOCABULARY) == pytest.approx(expected)


def test_of_the_mapped_titles_of_a_store(small_items: ItemStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(items, "_BLOCK", 7)
    before_IT = np.array(small_items.title_IT)
    vocabulary = len(small_items.tokenizer)
    idf_V = token_idf(small_items.title_IT, vocabulary)
    assert idf_V == pytest.approx(reference(before_IT, vocabulary), rel=1e-6)
    assert len(np.unique(idf_V)) > 3
    assert np.array_equal(small_items.title_IT, before_IT)
