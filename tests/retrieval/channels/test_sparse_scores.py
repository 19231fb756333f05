"""Scores of sparse rows against dense sums; equal ones in the order of the catalogue."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

from gensr_dist.retrieval.channels.sparse_scores import SparseScores
from tests.retrieval.world import check_scores


def sparse(rng: np.random.Generator, groups: int, items: int) -> csr_array:
    """Few distinct values, so that scores tie."""
    dense = rng.integers(1, 4, (groups, items)) * (rng.random((groups, items)) < 0.4)
    return csr_array(dense.astype(np.float32))


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**16), items=st.integers(1, 30), k=st.integers(1, 40), extra=st.booleans(), all_=st.booleans()
)
def test_scores_are_the_dense_sums(seed: int, items: int, k: int, extra: bool, all_: bool) -> None:
    rng = np.random.default_rng(seed)
    entry_GI, extra_GI = sparse(rng, 5, items), sparse(rng, 5, items) if extra else None
    prior_I = rng.integers(0, 3, items).astype(np.float32)
    allowed_I = None if all_ else rng.random(items) < 0.6
    scores = SparseScores(entry_GI, prior_I, extra_GI=extra_GI, allowed_I=allowed_I)
    expected_GI = entry_GI.toarray().astype(np.float64) + prior_I
    if extra_GI is not None:
        expected_GI += extra_GI.toarray()
    possible_GI = entry_GI.toarray() > 0
    if allowed_I is not None:
        possible_GI &= allowed_I
    check_scores(scores, expected_GI, possible_GI, k)
    for score_I, possible_I, item_K in zip(expected_GI, possible_GI, scores.best(k).item_GK, strict=True):
        best = sorted(np.flatnonzero(possible_I).tolist(), key=lambda item: (-score_I[item], item))[:k]
        assert item_K.tolist() == best + [-1] * (k - len(best))


@pytest.mark.parametrize("groups", [0, 2])
def test_no_entries_propose_nothing_and_score_the_prior(groups: int) -> None:
    prior_I = np.arange(4, dtype=np.float32)
    scores = SparseScores(csr_array((groups, 4), dtype=np.float32), prior_I)
    assert (scores.best(3).item_GK == np.full((groups, 3), -1)).all()
    np.testing.assert_array_equal(scores.of(np.tile([2, 1], (groups, 1))), np.tile([2, 1], (groups, 1)))


def test_the_prior_is_not_changed_by_asking() -> None:
    prior_I = np.ones(3, dtype=np.float32)
    scores = SparseScores(csr_array(np.full((1, 3), 5, dtype=np.float32)), prior_I)
    for _ in range(2):
        np.testing.assert_array_equal(scores.of(np.array([[0, 1, 2]])), [[6, 6, 6]])
    np.testing.assert_array_equal(prior_I, 1)
