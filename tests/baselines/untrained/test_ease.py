from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_array

from gensr_dist.baselines.untrained import ease
from gensr_dist.baselines.untrained.ease import EASE
from gensr_dist.errors import InputError
from tests.baselines.untrained.past import interactions, items_before, users_of_items
from tests.baselines.untrained.test_item_knn import log_of
from tests.data.timeline_folders import ITEMS


def test_scores_equal_the_definition(tmp_path: Path) -> None:
    store, timelines, rows = log_of(tmp_path, 1)
    chosen_VI = interactions(users_of_items(timelines, ITEMS), timelines.users)
    inverse_II = np.linalg.inv(chosen_VI.T @ chosen_VI + 4.0 * np.eye(ITEMS))
    score_RC = EASE.of_log(store, 4.0).score(rows)
    for row, place in np.ndindex(*score_RC.shape):
        item, expected = int(rows.candidate_RC[row, place]), 0.0
        for met in set(items_before(timelines, rows.user_R[row], rows.event_R[row])) - {item}:
            expected -= inverse_II[met, item] / inverse_II[item, item]
        assert score_RC[row, place] == pytest.approx(expected, abs=1e-12)
    assert np.unique(score_RC).size > score_RC.size / 4


def test_weights_are_the_best_without_a_diagonal(tmp_path: Path) -> None:
    """Each column alone is a ridge regression on all other items."""
    store, timelines, _ = log_of(tmp_path, 2)
    chosen_VI = interactions(users_of_items(timelines, ITEMS), timelines.users)
    weight_II = EASE.of_log(store, 2.5).weight_II
    for item in range(ITEMS):
        others = np.delete(np.arange(ITEMS), item)
        other_VJ = chosen_VI[:, others]
        expected_J = np.linalg.solve(other_VJ.T @ other_VJ + 2.5 * np.eye(ITEMS - 1), other_VJ.T @ chosen_VI[:, item])
        assert weight_II[others, item] == pytest.approx(expected_J, abs=1e-12)
        assert weight_II[item, item] == 0


def test_a_row_does_not_depend_on_the_others(tmp_path: Path) -> None:
    store, _, rows = log_of(tmp_path, 3)
    scorer = EASE.of_log(store)
    whole = scorer.score(rows)
    alone = [scorer.score(rows.take(np.array([row]))) for row in range(len(rows))]
    assert np.array_equal(np.concatenate(alone), whole)


def test_a_large_catalogue_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, _, _ = log_of(tmp_path, 4)
    monkeypatch.setattr(ease, "MOST_ITEMS", ITEMS - 1)
    with pytest.raises(InputError, match=r"50 items would take 20,000 bytes; take a catalogue of at most 49 items"):
        EASE.of_log(store)
    monkeypatch.undo()
    with pytest.raises(InputError, match="20,001 items"):
        EASE(csr_array((20_001, 3)), store)
