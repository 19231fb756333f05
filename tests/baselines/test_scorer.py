"""Ranks over the whole catalogue are those of sorting every item that the user had not met."""

import numpy as np
import pytest
from numpy.typing import NDArray

from gensr_dist.baselines import scorer as scorer_module
from gensr_dist.baselines.scorer import catalogue_ranks
from gensr_dist.data.config import DataConfig
from gensr_dist.data.events import Behaviour
from gensr_dist.data.preparation.local_engine import LocalEngine
from gensr_dist.data.preparation.prepare import prepare
from gensr_dist.data.shards.store import TimelineStore
from gensr_dist.data.timelines.rows import EvalRows
from gensr_dist.data.timelines.splits import Split
from gensr_dist.evaluation.protocol import draw_rows
from gensr_dist.storage.folder import Folder
from tests.conftest import random_log


@pytest.fixture(scope="module")
def long_timelines(tmp_path_factory: pytest.TempPathFactory) -> TimelineStore:
    """Four users of some 1,800 interactions each."""
    folder = Folder.at(tmp_path_factory.mktemp("long") / "shards")
    config = DataConfig(split="time", vocabulary=300, eval_negatives=5, users_per_sample=2)
    prepare(LocalEngine(random_log(2, users=4, items=1_500, events=9_000)), config, 0, folder)
    return TimelineStore.open(folder)


class Hashed:
    """Scores by item and user, with ties; item 3 has none where `broken`."""

    def __init__(self, *, broken: bool = False) -> None:
        self.broken = broken

    def of(self, user_R1: NDArray[np.int64], item_RC: NDArray[np.int64]) -> NDArray[np.float64]:
        score_RC = ((item_RC * 7_919 + user_R1 * 31) % 101).astype(np.float64)
        return np.where(self.broken & (item_RC == 3), np.nan, score_RC)

    def score(self, rows: EvalRows) -> NDArray[np.floating]:
        return self.of(rows.user_R[:, None], rows.candidate_RC)


@pytest.mark.parametrize("columns", [400, 20_000])
@pytest.mark.parametrize("broken", [False, True])
def test_ranks_are_those_of_all_items_that_the_user_had_not_met(
    long_timelines: TimelineStore, monkeypatch: pytest.MonkeyPatch, columns: int, broken: bool
) -> None:
    monkeypatch.setattr(scorer_module, "_COLUMNS", columns)
    store, scorer = long_timelines, Hashed(broken=broken)
    rows = draw_rows(store.eval_rows(Split.TEST, Behaviour.RECOMMENDATION), 30, 0)
    expected, longest = [], 0
    for user, end, candidates in zip(rows.user_R, rows.history_end_R, rows.candidate_RC, strict=True):
        start_R, _ = store.history_span(np.array([user]))
        met = store.gather_histories(np.array([user]), np.array([end]), int(end - start_R[0]))[0][0]
        longest, positive = max(longest, len(met)), candidates[0]
        rivals = np.setdiff1d(np.arange(store.items), [*met, positive])
        own, others = (scorer.of(np.array([[user]]), np.array([items]))[0] for items in ([positive], rivals))
        expected.append(1 + int((~(others < own)).sum()))
    assert longest > 1_200
    assert catalogue_ranks(scorer, rows, store, "").tolist() == expected
