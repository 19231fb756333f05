import math
import re
from collections import Counter

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gensr_dist.baselines.untrained.item_words import tfidf_vectors, weighted_words, word_matrices
from gensr_dist.data import words as text_words
from gensr_dist.data.words import TextWords

TEXTS = st.lists(st.text(alphabet="ab_7 É-,", max_size=12), max_size=14)


def series(texts: list[str]) -> pl.Series:
    return pl.Series(texts, dtype=pl.String)


def words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.lower()))


@given(first=TEXTS, second=TEXTS, block=st.integers(1, 20))
def test_texts_share_columns_where_they_share_words(first: list[str], second: list[str], block: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_words, "_BLOCK", block)
        matrices = word_matrices(TextWords.of(series(first)), TextWords.of(series(second)))
    texts = [*first, *second]
    found = np.concatenate([matrix.toarray() for matrix in matrices])
    assert found.shape == (len(texts), len(set().union(*map(words, texts))))
    assert set(found.ravel().tolist()) <= {0.0, 1.0}
    expected = [[len(words(a) & words(b)) for b in texts] for a in texts]
    assert np.array_equal(found @ found.T, np.array(expected).reshape(len(texts), len(texts)))


def test_a_word_that_a_text_repeats_counts_once() -> None:
    (matrix,) = word_matrices(TextWords.of(series(["tea Tea TEA, salt", "", "tea"])))
    assert matrix.sum(axis=1).tolist() == [2, 0, 1]
    assert matrix.nnz == 3


def closeness(texts: list[str], first: int, second: int, most_share: float) -> float:
    """Cosine of two texts' TF-IDF, word by word."""
    held = Counter(word for text in texts for word in words(text))
    kept = {word for word, count in held.items() if 2 <= count <= max(2, most_share * len(texts))}
    weight = {word: math.log(len(texts) / held[word]) for word in kept}
    lengths = [math.sqrt(sum(weight[word] ** 2 for word in words(texts[text]) & kept)) for text in (first, second)]
    shared = sum(weight[word] ** 2 for word in words(texts[first]) & words(texts[second]) & kept)
    return shared / (lengths[0] * lengths[1]) if all(lengths) else 0.0


@given(texts=st.lists(st.text(alphabet="abcde ", max_size=8), min_size=1, max_size=12), most_share=st.floats(0, 1))
def test_tfidf_equals_its_definition(texts: list[str], most_share: float) -> None:
    vectors = tfidf_vectors(word_matrices(TextWords.of(series(texts)))[0], most_share).toarray()
    for first in range(len(texts)):
        for second in range(len(texts)):
            expected = closeness(texts, first, second, most_share)
            assert vectors[first] @ vectors[second] == pytest.approx(expected, abs=1e-12)


def test_words_of_one_item_or_of_too_many_relate_nothing() -> None:
    texts = ["shop rare tea", "shop tea", "shop odd salt", *["shop"] * 57]
    vectors = tfidf_vectors(word_matrices(TextWords.of(series(texts)))[0]).toarray()
    assert np.count_nonzero(vectors, axis=1).tolist() == [1, 1, *[0] * 58]
    assert vectors[0] @ vectors[1] == pytest.approx(1)


def test_weights_of_zero_leave_no_entry_and_the_argument_stays() -> None:
    (matrix,) = word_matrices(TextWords.of(series(["a b", "b c"])))
    weighted = weighted_words(matrix, [0.0, 2.0, 3.0])
    assert np.array_equal(weighted.toarray(), matrix.toarray() * [0, 2, 3])
    assert weighted.nnz == np.count_nonzero(weighted.toarray()) < matrix.nnz == 4
