"""What candidates are told of histories, against loops over dense matrices; and what is known before a moment.

Dimensions: I items, G groups, L history, C candidates, K moments.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

from gensr_dist.data.batches.batch import HISTORY_FEATURES
from gensr_dist.data.history_evidence import DECAY, FILES, LATEST, LEAST_PART, EarlierVisits, HistoryEvidence
from gensr_dist.errors import InputError
from gensr_dist.storage.sparse_lists import save_lists

Dense = tuple[np.ndarray, np.ndarray, np.ndarray]  # visits before each moment and whole, words, users likewise


def made(seed: int, items: int, moments: int) -> tuple[HistoryEvidence, Dense]:
    """Evidence and the same as dense matrices."""
    rng = np.random.default_rng(seed)
    close_KII = (rng.random((moments + 1, items, items)) * (rng.random((moments + 1, items, items)) < 0.4)).astype("f4")
    text_II = (rng.random((items, items)) * (rng.random((items, items)) < 0.4)).astype("f4")
    users_KI = rng.integers(0, 9, (moments + 1, items)).astype(np.uint32)
    evidence = HistoryEvidence(
        close_II=csr_array(close_KII[-1]),
        text_II=csr_array(text_II),
        users_I=users_KI[-1],
        earlier=EarlierVisits(
            moment_K=10 * np.arange(1, moments + 1),
            part_K=np.where(rng.random(moments) < 0.2, LEAST_PART / 2, 0.5 + rng.random(moments) / 2),
            close_NI=csr_array(close_KII[:-1].reshape(moments * items, items)),
            users_KI=users_KI[:-1],
        ),
    )
    return evidence, (close_KII, text_II, users_KI)


def reference(evidence: HistoryEvidence, dense: Dense, history: list[int], item: int, moment: int | None) -> np.ndarray:
    """One pair at a time; `moment` is the number of the last one that is not after the row, -1 before all."""
    close_KII, text_II, users_KI = dense
    if moment is not None and moment >= 0 and evidence.earlier.part_K[moment] < LEAST_PART:
        moment = -1
    told = evidence.earlier.close_NI.nnz > 0, evidence.earlier.part_K.max(initial=0) >= LEAST_PART
    visits_II = np.zeros_like(text_II) if moment == -1 else close_KII[-1 if moment is None else moment]
    users = 0.0 if moment == -1 else float(users_KI[-1 if moment is None else moment][item])
    if moment is not None and moment >= 0:
        users /= float(evidence.earlier.part_K[moment])
    visits_II, users = visits_II * (told[0] and told[1]), users * told[1]
    features = []
    for matrix_II, root in ((visits_II, 0.5), (text_II, 1.0)):
        closeness = [float(matrix_II[other, item]) for other in history]
        for decay in (DECAY, LATEST):
            total = sum(decay**age * close for age, close in enumerate(reversed(closeness)))
            features.append(total**root)
        features.append(max(closeness, default=0.0) ** root)
    return np.array([*features, np.log1p(users)])


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    items=st.integers(1, 9),
    moments=st.integers(1, 4),
    groups=st.integers(1, 4),
    length=st.integers(0, 5),
    candidates=st.integers(1, 4),
    timed=st.booleans(),
)
def test_matches_the_loops(
    seed: int, items: int, moments: int, groups: int, length: int, candidates: int, timed: bool
) -> None:
    rng = np.random.default_rng(seed)
    evidence, dense = made(seed, items, moments)
    count_G = rng.integers(0, length + 1, groups)
    history_GL = np.where(np.arange(length) < count_G[:, None], rng.integers(0, items, (groups, length)), -1)
    item_GC = rng.integers(0, items, (groups, candidates))
    time_G = rng.integers(0, 10 * moments + 15, groups)
    told_GCF = evidence.features(history_GL, item_GC, time_G if timed else None)
    assert told_GCF.dtype == np.float32
    assert told_GCF.shape == (groups, candidates, HISTORY_FEATURES)
    for group in range(groups):
        moment = min(int(time_G[group]) // 10, moments) - 1 if timed else None
        for place in range(candidates):
            history, item = history_GL[group][: count_G[group]].tolist(), int(item_GC[group, place])
            expected_F = reference(evidence, dense, history, item, moment)
            np.testing.assert_allclose(told_GCF[group, place], expected_F, rtol=1e-5, atol=1e-6)


def test_a_log_without_visits_and_words_tells_nothing() -> None:
    empty = csr_array((4, 4), dtype=np.float32)
    no_users = np.zeros(4, dtype=np.uint32)
    earlier = EarlierVisits(
        moment_K=np.zeros(2, dtype=np.int64),
        part_K=np.zeros(2),
        close_NI=csr_array((8, 4), dtype=np.float32),
        users_KI=np.zeros((2, 4), dtype=np.uint32),
    )
    evidence = HistoryEvidence(close_II=empty, text_II=empty, users_I=no_users, earlier=earlier)
    for time_G in (None, np.array([-1, 5])):
        assert not evidence.features(np.array([[1, 2], [3, -1]]), np.array([[0], [1]]), time_G).any()


def test_where_no_training_row_is_told_of_visits_no_row_is() -> None:
    """Weights that training never moved must not be asked."""
    evidence, _ = made(3, 5, 2)
    nothing = csr_array(evidence.earlier.close_NI.shape, dtype=np.float32)
    for earlier, silent in (
        (replace(evidence.earlier, part_K=np.array([0, LEAST_PART / 2])), [0, 1, 2, 6]),  # few visits
        (replace(evidence.earlier, close_NI=nothing), [0, 1, 2]),  # users, and nobody who met two items
    ):
        told_GCF = replace(evidence, earlier=earlier).features(np.array([[2, 4]]), np.arange(5)[None])
        assert not told_GCF[..., silent].any()
        assert all(told_GCF[..., feature].any() for feature in range(HISTORY_FEATURES) if feature not in silent)


def test_added_items_are_told_by_their_words() -> None:
    evidence, (_, text_II, _) = made(3, 5, 2)
    more_II = np.zeros((7, 7), dtype=np.float32)
    more_II[:5, :5], more_II[2, 6] = text_II, 0.5
    grown = evidence.with_items(csr_array(more_II))
    history_GL, old_GC = np.array([[2, 4]]), np.array([[0, 1, 3]])
    np.testing.assert_array_equal(grown.features(history_GL, old_GC), evidence.features(history_GL, old_GC))
    told_F = grown.features(history_GL, np.array([[6]]))[0, 0]
    np.testing.assert_allclose(told_F, [0, 0, 0, 0.5 * DECAY, 0.5 * LATEST, 0.5, 0], rtol=1e-6)


def saved(folder: Path) -> HistoryEvidence:
    evidence, _ = made(1, 6, 3)
    evidence.save(folder)
    save_lists(folder, "covisitation", evidence.close_II)
    save_lists(folder, "text", evidence.text_II)
    return evidence


def test_is_mapped_as_it_was_saved(tmp_path: Path) -> None:
    evidence = saved(tmp_path)
    again = HistoryEvidence.open(tmp_path, 6)
    history_GL, item_GC = np.array([[0, 3, 5], [2, -1, -1]]), np.array([[1, 4], [5, 0]])
    for time_G in (None, np.array([5, 25])):
        features = [each.features(history_GL, item_GC, time_G) for each in (evidence, again)]
        np.testing.assert_array_equal(*features)


@pytest.mark.parametrize("name", [*FILES, "text_weights.npy", "covisitation_starts.npy"])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    saved(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(InputError, match=f"{name}.*gensr channels"):
        HistoryEvidence.open(tmp_path, 6)


def test_another_catalogue_is_refused(tmp_path: Path) -> None:
    saved(tmp_path)
    with pytest.raises(InputError, match="not the evidence of a catalogue of 7 items"):
        HistoryEvidence.open(tmp_path, 7)
