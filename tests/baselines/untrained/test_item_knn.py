import math
from pathlib import Path

import numpy as np
import pytest

from gensr_dist.baselines.untrained.item_knn import ItemKNN
from gensr_dist.data.events import Behaviour
from gensr_dist.data.shards.store import TimelineStore
from gensr_dist.data.timelines.rows import EvalRows
from gensr_dist.data.timelines.splits import Split
from gensr_dist.data.timelines.timelines import Timelines
from gensr_dist.storage.folder import Folder
from tests.baselines.untrained.past import items_before, users_of_items
from tests.data.timeline_folders import ITEMS, random_negatives, random_timelines, write_folder


def log_of(folder: Path, seed: int) -> tuple[TimelineStore, Timelines, EvalRows]:
    timelines = random_timelines(seed, 12, 300)
    write_folder(folder, timelines, random_negatives(timelines, seed), users_per_shard=5)
    store = TimelineStore.open(Folder.at(folder), shuffle_shards=1)
    rows = [store.eval_rows(split, task) for split in (Split.VALID, Split.TEST) for task in Behaviour]
    return store, timelines, EvalRows.joined(rows)


@pytest.mark.parametrize("shrinkage", [0.0, 3.0])
def test_scores_equal_the_definition(shrinkage: float, tmp_path: Path) -> None:
    store, timelines, rows = log_of(tmp_path, 1)
    users = users_of_items(timelines, ITEMS)
    score_RC = ItemKNN.of_log(store, shrinkage).score(rows)
    met_again = 0
    for row, place in np.ndindex(*score_RC.shape):
        item, expected = int(rows.candidate_RC[row, place]), 0.0
        for met in items_before(timelines, rows.user_R[row], rows.event_R[row])[-20:]:
            norm = math.sqrt(len(users[met]) * len(users[item])) + shrinkage
            met_again += met == item
            if met != item and norm:
                expected += len(users[met] & users[item]) / norm
        assert score_RC[row, place] == pytest.approx(expected, abs=1e-12)
    assert met_again
    assert np.unique(score_RC).size > score_RC.size / 4


def test_a_row_does_not_depend_on_the_others(tmp_path: Path) -> None:
    store, _, rows = log_of(tmp_path, 2)
    scorer = ItemKNN.of_log(store)
    whole = scorer.score(rows)
    alone = [scorer.score(rows.take(np.array([row]))) for row in range(len(rows))]
    assert np.array_equal(np.concatenate(alone), whole)
