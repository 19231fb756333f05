"""CF vectors of items without events, against the formula."""

import numpy as np
import polars as pl
import pytest

from gensr_dist.baselines.item_words import TextWords, tfidf_vectors, word_matrices
from gensr_dist.retrieval.added import cf_vectors
from gensr_dist.retrieval.added.cf_vectors import typical_length, vectors_by_text

OLD, NEW, WIDTH = 40, 9, 5


@pytest.mark.parametrize("nearest", [1, 4, 20])
def test_vectors_are_those_of_the_nearest_texts(monkeypatch: pytest.MonkeyPatch, nearest: int) -> None:
    monkeypatch.setattr(cf_vectors, "NEAREST", nearest)
    rng = np.random.default_rng(0)
    texts = [" ".join(f"w{word}" for word in rng.integers(0, 300, 12)) for _ in range(OLD + NEW)]
    texts[-1], texts[-2] = "unheard of", ""
    (text_XW,) = word_matrices(TextWords.of(pl.Series(texts)))
    item_IE = rng.normal(size=(OLD, WIDTH)).astype(np.float32)
    item_IE[3] = 0
    found = vectors_by_text(text_XW, item_IE)
    vector = tfidf_vectors(text_XW).toarray()
    length = np.median(np.linalg.norm(np.delete(item_IE, 3, axis=0), axis=1))
    assert found.shape == (NEW, WIDTH)
    assert found.dtype == np.float32
    for item, found_E in enumerate(found):
        like = vector[:OLD] @ vector[OLD + item]
        order = np.argsort(-like, kind="stable")[:nearest]
        directions = item_IE / np.maximum(np.linalg.norm(item_IE, axis=1, keepdims=True), 1e-9)
        mean = (like[order, None] ** 2 * directions[order]).sum(axis=0)
        norm = np.linalg.norm(mean)
        np.testing.assert_allclose(found_E, mean / norm * length if norm > 0 else 0 * mean, atol=1e-5)
    assert not found[-2:].any()
    assert found[:-2].any(axis=1).sum() >= 2


def test_a_catalogue_without_vectors_gives_none() -> None:
    (text_XW,) = word_matrices(TextWords.of(pl.Series(["a b", "a b", "a b"])))
    assert typical_length(np.zeros((2, 3), dtype=np.float32)) == 0
    assert not vectors_by_text(text_XW, np.zeros((2, 3), dtype=np.float32)).any()
