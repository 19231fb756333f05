"""Fitting both orders: on which rows and candidates, and what it is good for."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import polars as pl
import pytest

from gensr_dist.config.root import load_config
from gensr_dist.data.config import DataConfig
from gensr_dist.data.events import EVENT_SCHEMA, Behaviour, EventLog
from gensr_dist.data.items import ItemStore
from gensr_dist.data.preparation.local_engine import LocalEngine
from gensr_dist.data.preparation.prepare import prepare
from gensr_dist.data.shards.store import TimelineStore
from gensr_dist.data.timelines.splits import Split
from gensr_dist.evaluation.protocol import draw_rows
from gensr_dist.retrieval.candidate_recall import candidate_metrics
from gensr_dist.retrieval.candidates import CandidateGenerator
from gensr_dist.retrieval.channels.channel_set import ChannelSet
from gensr_dist.retrieval.channels.sources import ChannelSources
from gensr_dist.retrieval.channels.stage import ChannelArrays
from gensr_dist.retrieval.fitting import FittedOrders, fit_orders
from gensr_dist.retrieval.fusion import learnt_order
from gensr_dist.retrieval.fusion.learnt_order import LearntOrder, fit_order
from gensr_dist.retrieval.ranker import GENSR
from gensr_dist.retrieval.requests import Requests
from gensr_dist.retrieval.stage import open_ranker
from gensr_dist.runs.folder import RunFolder
from gensr_dist.runs.trained_run import TrainedRun
from gensr_dist.storage.folder import Folder
from tests.retrieval.world import vector_index

K = 25


class ItemLogOdds:
    """A score of each item alone."""

    def log_odds(self, requests: Requests, item_GK: np.ndarray) -> np.ndarray:
        return np.sin(item_GK).astype(np.float32)


@pytest.fixture(scope="module")
def generator(run: RunFolder, trained: TrainedRun) -> CandidateGenerator:
    """Without fusion."""
    fused = open_ranker(trained, load_config(run.config)).generator
    return CandidateGenerator(fused.channels, fused.items, exclude_seen=True)


def fit(trained: TrainedRun, generator: CandidateGenerator, rows: int = 2_000) -> FittedOrders:
    scorer: Any = ItemLogOdds()
    return fit_orders(generator, scorer, trained.store, trained.items, rows=rows, candidates=K, seed=0)


def plain_fit(features: tuple[str, ...], parts: list[tuple[np.ndarray, int]]) -> LearntOrder | None:
    """Features of the candidates of each row, and the place of its positive."""
    starts = np.cumsum([0, *(len(feature_KF) for feature_KF, _ in parts)])
    positives = np.array([start + place for start, (_, place) in zip(starts[:-1].tolist(), parts, strict=True)])
    return fit_order(features, np.concatenate([feature_KF for feature_KF, _ in parts]), starts, positives)


def assert_close(found: LearntOrder, expected: LearntOrder | None) -> None:
    assert expected is not None
    assert (found.features, found.groups) == (expected.features, expected.groups)
    for one, other in ((found.mean, expected.mean), (found.deviation, expected.deviation)):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found.weight, expected.weight, atol=1e-2)
    assert found.loss == pytest.approx(expected.loss, abs=1e-4)


@pytest.mark.parametrize("rows", [2_000, 20])
def test_orders_are_fitted_on_candidates_of_validation_rows(
    trained: TrainedRun, generator: CandidateGenerator, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    """The fusion on all that is proposed, the answers on the first candidates of that fusion."""
    monkeypatch.setattr("gensr_dist.retrieval.requests._ROWS", 7)
    monkeypatch.setattr(learnt_order, "FEWEST", 3)
    orders = fit(trained, generator, rows)
    assert orders.fusion.keys() == orders.answers.keys() != set()
    for task, fusion in orders.fusion.items():
        drawn = draw_rows(trained.store.eval_rows(Split.VALID, task), rows, 0)
        features = generator.features(task)
        fused = CandidateGenerator(generator.channels, generator.items, exclude_seen=True, fusion={task: fusion})
        tables: tuple[list[Any], list[Any]] = [], []
        for row in range(len(drawn)):
            one = drawn.take(np.array([row]))
            requests, positive = Requests.of_rows(trained.store, trained.items, one), one.candidate_RC[0, 0]
            for table, found, with_log_odds in (
                (tables[0], generator.proposed(requests, K), False),
                (tables[1], fused.candidates(requests, K), True),
            ):
                item_K = found.item_GK[0][found.item_GK[0] >= 0]
                feature_KF = found.score_GKF[0, : len(item_K)]
                if with_log_odds:
                    feature_KF = np.column_stack([feature_KF, np.sin(item_K)])
                if positive in item_K:
                    table.append((feature_KF, item_K.tolist().index(positive)))
        assert_close(fusion, plain_fit(features, tables[0]))
        assert_close(orders.answers[task], plain_fit((*features, GENSR), tables[1]))


def test_nothing_is_fitted_on_no_rows_or_too_few(trained: TrainedRun, generator: CandidateGenerator) -> None:
    assert fit(trained, generator, 0) == FittedOrders()
    assert len(trained.store.eval_rows(Split.VALID, Behaviour.SEARCH)) < learnt_order.FEWEST
    assert fit(trained, generator) == FittedOrders()


def test_a_task_without_positives_among_its_candidates_has_no_order(
    trained: TrainedRun, generator: CandidateGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learnt_order, "FEWEST", 3)
    rows = TimelineStore.eval_rows

    def no_search(store: TimelineStore, split: Split, task: Behaviour) -> Any:
        found = rows(store, split, task)
        return found.take(np.arange(0)) if task == Behaviour.SEARCH else found

    monkeypatch.setattr(TimelineStore, "eval_rows", no_search)
    orders = fit(trained, generator)
    assert set(orders.fusion) == set(orders.answers) == {Behaviour.RECOMMENDATION}


USERS, ITEMS, LENGTH = 400, 240, 8


def planted_log(seed: int) -> EventLog:
    """Each choice follows the one before by one of three steps; CF vectors and towers will know nothing of it."""
    rng = np.random.default_rng(seed)
    item_VL = np.empty((USERS, LENGTH), dtype=np.int64)
    item_VL[:, 0] = rng.integers(0, ITEMS, USERS)
    for place in range(1, LENGTH):
        item_VL[:, place] = (item_VL[:, place - 1] + rng.choice([1, 7, 30], USERS)) % ITEMS
    events = pl.DataFrame(
        {
            "user": np.repeat(np.arange(USERS), LENGTH),
            "item": item_VL.ravel(),
            "behaviour": np.zeros(USERS * LENGTH, dtype=np.int64),
            "time": np.tile(np.arange(LENGTH) * 1_000, USERS),
            "query": np.full(USERS * LENGTH, -1),
            "positive": np.ones(USERS * LENGTH, dtype=bool),
        },
        schema=EVENT_SCHEMA,
    )
    return EventLog(
        users=pl.DataFrame({"user_id": [f"u{user}" for user in range(USERS)]}),
        items=pl.DataFrame({"item_id": [f"i{n}" for n in range(ITEMS)], "text": [f"w{n % 9}" for n in range(ITEMS)]}),
        queries=pl.DataFrame({"text": []}, schema={"text": pl.String}),
        events=events,
    )


def planted_channels(store: TimelineStore, items: ItemStore) -> ChannelSet:
    rng = np.random.default_rng(0)
    item_IE, item_IH, user_IH = (rng.normal(size=(ITEMS, 6)).astype(np.float32) for _ in range(3))

    def users(requests: Requests) -> np.ndarray:
        newest_G = requests.newest(1)[0][:, 0]
        return user_IH[np.maximum(newest_G, 0)]

    weighted_VD = np.zeros((int(items.title_IT.max()) + 1, 4), dtype=np.float32)
    indices: Mapping[str, Any] = {
        "cf": vector_index(item_IE),
        "semantic": vector_index(np.zeros((ITEMS, 4), dtype=np.float32)),
        "tower": vector_index(item_IH),
    }
    return ChannelSet.over(
        ChannelArrays.build(ChannelSources.of(store, items)),
        indices,
        item_IE=item_IE,
        item_IH=item_IH,
        weighted_VD=weighted_VD,
        title_IT=items.title_IT,
        popularity_I=items.popularity_I,
        users=users,
    )


def test_a_fitted_fusion_finds_more_than_reciprocal_ranks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On test rows drawn from the same law as the validation rows that it was fitted on."""
    cutoffs = 5, 20
    for place in ("gensr_dist.retrieval.candidate_recall", "gensr_dist.evaluation.metrics"):
        monkeypatch.setattr(f"{place}.CANDIDATE_CUTOFFS", cutoffs)
    folder = Folder.at(tmp_path / "shards")
    config = DataConfig(
        split="leave_one_out", vocabulary=300, eval_negatives=9, min_interactions=1, both_behaviours=False
    )
    prepare(LocalEngine(planted_log(0)), config, 0, folder)
    store, items = TimelineStore.open(folder), ItemStore.open(folder)
    plain = CandidateGenerator(planted_channels(store, items), ITEMS, exclude_seen=True)
    scorer = cast(Any, ItemLogOdds())
    orders = fit_orders(plain, scorer, store, items, rows=2_000, candidates=20, seed=0)
    assert set(orders.fusion) == set(orders.answers) == {Behaviour.RECOMMENDATION}
    fusion = orders.fusion[Behaviour.RECOMMENDATION]
    assert fusion.groups > 350
    assert fusion.loss < fusion.even - 1
    weight = dict(zip(fusion.features, fusion.weight, strict=True))
    assert weight["sessions"] > 5 * max(abs(weight["lightgcn"]), abs(weight["tower"]))

    fused = CandidateGenerator(plain.channels, ITEMS, exclude_seen=True, fusion=orders.fusion)
    rows = store.eval_rows(Split.TEST, Behaviour.RECOMMENDATION)
    before, after = (candidate_metrics(each, rows, store, items).recall for each in (plain, fused))
    for cutoff in cutoffs:
        assert after[cutoff] > before[cutoff] + 0.1
