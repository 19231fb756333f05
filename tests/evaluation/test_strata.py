import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gensr_dist.data.events import Behaviour
from gensr_dist.data.shards.store import TimelineStore
from gensr_dist.data.timelines.rows import EvalRows
from gensr_dist.data.timelines.splits import Split
from gensr_dist.evaluation.metrics import MISSED
from gensr_dist.evaluation.strata import (
    HISTORY_FIRSTS,
    POPULARITY_FIRSTS,
    Stratum,
    TaskStrata,
    divide,
    strata_json,
    training_users,
)
from gensr_dist.storage.folder import Folder
from tests.data.timeline_folders import ITEMS, random_negatives, random_timelines, write_folder

RANKS = st.one_of(st.integers(1, 25), st.just(MISSED))


@pytest.fixture(scope="module", params=[1, 64])
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> TimelineStore:
    """In several windows, and in one."""
    folder, timelines = tmp_path_factory.mktemp("shards"), random_timelines(5, 13, 400)
    write_folder(folder, timelines, random_negatives(timelines), users_per_shard=4)
    return TimelineStore.open(Folder.at(folder), shuffle_shards=request.param)


def gain(rank: int) -> float:
    return 1 / math.log2(1 + rank) if rank <= 10 else 0.0


@given(
    values=st.lists(st.tuples(st.integers(2, 40), RANKS, RANKS), max_size=30),
    more=st.sets(st.integers(3, 40), max_size=5),
)
def test_strata_are_the_means_of_their_rows(values: list[tuple[int, int, int]], more: set[int]) -> None:
    firsts = [2, *sorted(more)]
    value_R, one_R, two_R = np.array(values, dtype=np.int64).reshape(-1, 3).T
    strata = divide({"one": one_R, "two": two_R}, value_R, firsts)
    expected = []
    for place, first in enumerate(firsts):
        last = firsts[place + 1] - 1 if place + 1 < len(firsts) else None
        rows = [row for row in values if first <= row[0] and (last is None or row[0] <= last)]
        if rows:
            ranks = {"one": [row[1] for row in rows], "two": [row[2] for row in rows]}
            recall = {name: pytest.approx(np.mean([rank <= 10 for rank in rank_R])) for name, rank_R in ranks.items()}
            ndcg = {name: pytest.approx(np.mean([gain(rank) for rank in rank_R])) for name, rank_R in ranks.items()}
            expected.append((first, last, len(rows), recall, ndcg))
    assert [(found.first, found.last, found.count, found.recall, found.ndcg) for found in strata] == expected


def test_labels_say_what_a_stratum_holds() -> None:
    found = divide({"one": np.ones(6, dtype=np.int64)}, np.array([0, 1, 5, 29, 30, 700]), (0, 1, 3, 6, 12, 30))
    assert [(stratum.label, stratum.count) for stratum in found] == [
        ("0", 1),
        ("1-2", 1),
        ("3-5", 1),
        ("12-29", 1),
        ("30+", 2),
    ]


def test_training_users_are_counted_once_an_item(store: TimelineStore) -> None:
    chose: list[set[int]] = [set() for _ in range(ITEMS)]
    events = 0
    for window in store.windows():
        timelines = window.timelines
        for user in range(timelines.users):
            for event in range(*timelines.user_start_V[[user, user + 1]]):
                if timelines.positive_N[event] and timelines.split_N[event] == Split.TRAIN:
                    chose[timelines.item_N[event]].add(user + window.first_user)
                    events += 1
    assert training_users(store).tolist() == [len(users) for users in chose]
    assert sum(map(len, chose)) < events  # twins and repeats are among them


@pytest.mark.parametrize("task", list(Behaviour))
def test_rows_are_placed_by_their_positive_and_their_history(store: TimelineStore, task: Behaviour) -> None:
    rows: EvalRows = EvalRows.joined([store.eval_rows(split, task) for split in (Split.VALID, Split.TEST)])
    rank_R = np.random.default_rng(1).integers(1, 20, len(rows))
    users_I = training_users(store)
    found = TaskStrata.of({"one": rank_R}, rows, store, users_I)
    item_RL, _ = store.gather_histories(rows.user_R, rows.history_end_R, 500)
    length_R = (item_RL >= 0).sum(axis=1)
    assert found.history == divide({"one": rank_R}, length_R, HISTORY_FIRSTS)
    assert found.popularity == divide({"one": rank_R}, users_I[rows.candidate_RC[:, 0]], POPULARITY_FIRSTS)
    for part in (found.history, found.popularity):
        assert sum(stratum.count for stratum in part) == len(rows)
        assert len(part) > 1


def test_json_holds_every_figure() -> None:
    ndcg, error = {"gensr": 0.4, "bm25": 0.0}, {"gensr": 0.1, "bm25": 0.0}
    recall = {"gensr": 0.5, "bm25": 0.25}
    stratum = Stratum(first=30, last=None, count=4, recall=recall, ndcg=ndcg, ndcg_error=error)
    assert strata_json(TaskStrata(popularity=(stratum,), history=())) == {
        "popularity": [
            {
                "first": 30,
                "last": None,
                "count": 4,
                "recall@10": {"gensr": 0.5, "bm25": 0.25},
                "ndcg@10": {"gensr": 0.4, "bm25": 0},
            }
        ],
        "history": [],
    }
