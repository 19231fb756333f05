"""`gensr analyse filter`: weights, lifts, and answers without an entry."""

import dataclasses
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array

from gensr_dist.analysis.contract import Analysis
from gensr_dist.analysis.registry import ANALYSES, analysis
from gensr_dist.analysis.soft_filter.analysis import SoftFilterAnalysis
from gensr_dist.analysis.soft_filter.lifts import entropy, kinds_of, lift, listed, mean, rank_correlation, ratios
from gensr_dist.analysis.soft_filter.weights import CF, TEXT, left_out, weights_of, without
from gensr_dist.analysis.subject import Subject
from gensr_dist.config.root import Config
from gensr_dist.data.cf_vectors import save_cf
from gensr_dist.data.config import DataConfig
from gensr_dist.data.events import Behaviour
from gensr_dist.data.items import ItemStore
from gensr_dist.data.shards.store import TimelineStore
from gensr_dist.data.timelines.rows import EvalRows
from gensr_dist.data.timelines.splits import Split
from gensr_dist.errors import InputError
from gensr_dist.evaluation.gensr_scorer import GenSRScorer
from gensr_dist.model.config import ModelConfig
from gensr_dist.model.gensr import GenSR
from gensr_dist.retrieval.channels.stage import build_channels
from gensr_dist.runs.folder import RunFolder
from gensr_dist.runs.trained_run import TrainedRun

HISTORY = 5
CONFIG = Config(data=DataConfig(history=HISTORY))


def run_of(folder: Path, shards: Path, **settings: object) -> RunFolder:
    """A run with an untrained model whose filters are far from even."""
    run = RunFolder(folder)
    shutil.copytree(shards, folder / "shards")
    store, items = TimelineStore.open(run.shards), ItemStore.open(run.shards)
    rng = np.random.default_rng(0)
    record = {
        "seed": 0,
        "result": {"items": store.items, "users": store.users},
        "settings": {"width": 8, "folds": 0},
    }
    save_cf(run.cf, rng.normal(size=(store.items, 8)), rng.normal(size=(store.users, 8)), record)
    build_channels(store, items, run.channels)
    torch.manual_seed(0)
    model = GenSR.build(ModelConfig(**settings), items.tokenizer, cf_width=8)  # type: ignore[arg-type]
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "_filter.query" in name:
                parameter.mul_(20)
    model.save_pretrained(run.model, items.tokenizer)
    return run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, small_shards: Path) -> RunFolder:
    return run_of(tmp_path_factory.mktemp("filter"), small_shards)


@pytest.fixture(scope="module")
def trained(run: RunFolder) -> TrainedRun:
    return TrainedRun.open(run, CONFIG)


def some_rows(trained: TrainedRun, task: Behaviour = Behaviour.SEARCH, count: int = 12) -> EvalRows:
    return trained.store.eval_rows(Split.TEST, task).take(np.arange(count))


def test_weights_of_a_history_sum_to_one(trained: TrainedRun) -> None:
    rows = some_rows(trained)
    seen = weights_of(trained, rows)
    assert seen.weights.keys() == {CF, TEXT}
    for weight_RCL in seen.weights.values():
        assert weight_RCL.shape == (*rows.candidate_RC.shape, HISTORY)
        np.testing.assert_allclose(weight_RCL.sum(axis=2)[seen.length_R > 0], 1, atol=1e-5)
        assert not weight_RCL[np.broadcast_to((seen.item_RL < 0)[:, None], weight_RCL.shape)].any()
    assert np.abs(seen.weights[CF][:, 0] - seen.weights[CF][:, 1]).max() > 0.05  # they follow the candidate


def test_weights_of_title_tokens_are_summed(tmp_path: Path, small_shards: Path) -> None:
    pooled = TrainedRun.open(run_of(tmp_path, small_shards, semantic_history="tokens"), CONFIG)
    rows = some_rows(pooled)
    seen = weights_of(pooled, rows)
    length_IL = pooled.items.title_length_I[seen.item_RL]
    has_text_R = length_IL.sum(axis=1) > 0
    np.testing.assert_allclose(seen.weights[TEXT].sum(axis=2)[has_text_R], 1, atol=1e-5)
    assert not seen.weights[TEXT][np.broadcast_to((length_IL == 0)[:, None], seen.weights[TEXT].shape)].any()
    changes = left_out(pooled, rows)
    assert np.isfinite(changes.filtered_RL).all()
    assert np.abs(changes.filtered_RL).max() > 0


@pytest.mark.parametrize("task", list(Behaviour))
def test_an_entry_left_out_is_a_shorter_history(trained: TrainedRun, task: Behaviour) -> None:
    rows = some_rows(trained, task)
    changes = left_out(trained, rows)
    scorer = GenSRScorer(trained.model, trained.collator, trained.device, prompts=100)
    np.testing.assert_allclose(changes.whole_R, scorer.score(rows)[:, 0], atol=1e-4)
    item_RL, behaviour_RL = trained.store.gather_histories(rows.user_R, rows.history_end_R, HISTORY)
    for row in (0, 5, 11):
        length = int((item_RL[row] >= 0).sum())
        for place in range(length):
            item_1L = np.append(np.delete(item_RL[row], place), -1)[None]
            behaviour_1L = np.append(np.delete(behaviour_RL[row], place), 0)[None]
            one = rows.take(np.array([row]))
            query_1Q = np.zeros((1, trained.items.query_QT.shape[1]), dtype=np.int64)
            if one.query_R[0] >= 0:
                query_1Q[0] = trained.items.query_QT[one.query_R[0]]
            texts = [trained.items.queries[query] if query >= 0 else "" for query in one.query_R.tolist()]
            batch = trained.collator.query(
                item_1L, behaviour_1L, one.task_R, query_1Q, one.candidate_RC[:, :1], texts=texts
            )
            shorter = torch.logit(trained.model.score(batch).double()).item()
            assert changes.change_RL[row, place] == pytest.approx(changes.whole_R[row] - shorter, abs=1e-3)
        assert not changes.change_RL[row, length:].any()


def test_filters_that_give_nothing_change_nothing(run: RunFolder) -> None:
    trained = TrainedRun.open(run, CONFIG)
    for module in (trained.model.cf_filter, trained.model.semantic_filter):
        torch.nn.init.zeros_(module.value_HKD)
    changes = left_out(trained, some_rows(trained))
    assert np.abs(changes.filtered_RL).max() < 1e-5
    assert np.abs(changes.change_RL).max() > 1e-3  # the rest of the model reads histories too


def test_without_shifts_what_is_older() -> None:
    value_GL = np.array([[1, 2, 3, -1], [4, 5, 6, 7]])
    assert without(value_GL, np.array([0, 3]), -1).tolist() == [[2, 3, -1, -1], [4, 5, 6, -1]]
    assert without(value_GL, np.array([1, 0]), -1).tolist() == [[1, 3, -1, -1], [5, 6, 7, -1]]


def test_a_lift_is_weight_over_share() -> None:
    weight_RCL = np.array([[[0.5, 0.25, 0.25, 0.0]], [[0.2, 0.8, 0.0, 0.0]], [[1.0, 0.0, 0.0, 0.0]]])
    real_RL = np.array([[1, 1, 1, 0], [1, 1, 0, 0], [1, 0, 0, 0]], dtype=bool)
    entries_RCL = np.array([[[1, 0, 0, 0]], [[1, 0, 0, 0]], [[1, 0, 0, 0]]], dtype=bool)
    found = lift(weight_RCL, entries_RCL, real_RL, np.array([0, 1, 2]))
    assert found is not None
    assert found[0].value == pytest.approx((0.5 + 0.2) / (1 / 3 + 1 / 2))  # the last row has no other entry
    assert found[1] == 2
    assert lift(weight_RCL, np.zeros_like(entries_RCL), real_RL, np.array([0, 1, 2])) is None
    even_RCL = np.where(real_RL, 1 / real_RL.sum(axis=1, keepdims=True), 0)[:, None]
    (one, _) = lift(even_RCL, entries_RCL, real_RL, np.array([0, 1, 2])) or (None, 0)
    assert one is not None
    assert one.value == pytest.approx(1)
    assert one.interval == (pytest.approx(1), pytest.approx(1))


def test_intervals_are_of_users() -> None:
    rng = np.random.default_rng(0)
    of_user_U = rng.normal(size=50)
    value_R, user_R = np.repeat(of_user_U, 40), np.repeat(np.arange(50), 40)
    by_user, by_row = mean(value_R, user_R), mean(value_R, np.arange(2_000))
    assert by_user is not None
    assert by_row is not None
    assert by_user.value == pytest.approx(by_row.value)
    width, narrow = (high - low for low, high in (by_user.interval or (0, 0), by_row.interval or (0, 0)))
    assert width > 4 * narrow
    assert mean(np.array([np.nan]), np.array([0])) is None
    assert np.isnan(ratios(np.ones((1, 1)), np.zeros((1, 1)), np.array([0]))[0].value)


def test_kinds_of_entries(trained: TrainedRun) -> None:
    rows = some_rows(trained, count=1)
    rows = replace(rows, candidate_RC=np.array([[7, 3]]))
    item_RL, behaviour_RL = np.array([[2, 3, 4, -1]]), np.array([[1, 2, 3, 0]])
    close_II = csr_array((np.ones(2), ([7, 3], [2, 4])), shape=(10, 10))
    kinds = kinds_of(rows, item_RL, behaviour_RL, {"near": close_II}, {1: "rec", 2: "search"})
    found = {kind.name: kind.of_RCL[0].astype(int).tolist() for kind in kinds}
    assert found["newest"] == [[0, 0, 1, 0]] * 2
    assert found["2nd and 3rd newest"] == [[1, 1, 0, 0]] * 2
    assert found["near"] == [[1, 0, 0, 0], [0, 0, 1, 0]]
    assert found["the candidate itself"] == [[0, 0, 0, 0], [0, 1, 0, 0]]
    assert found["search"] == [[0, 1, 0, 0]] * 2
    assert not listed(csr_array((10, 10)), rows.candidate_RC, item_RL).any()


def test_entropy_and_rank_correlation() -> None:
    even_RC = entropy(np.array([[[0.5, 0.5]], [[1.0, 0.0]], [[1.0, 0.0]]]), np.array([2, 2, 1]))
    assert even_RC[:2, 0].tolist() == [pytest.approx(1), pytest.approx(0)]
    assert np.isnan(even_RC[2, 0])
    first_RL = np.array([[0.1, 0.2, 0.7, 0.0], [0.1, 0.2, 0.7, 0.0], [0.3, 0.3, 0.4, 0.0], [0.5, 0.5, 0, 0]])
    second_RL = np.array([[1.0, 2, 3, 0], [3, 2, 1, 0], [1, 1, 1, 0], [1, 2, 0, 0]])
    found_R = rank_correlation(first_RL, second_RL, np.array([3, 3, 3, 2]))
    assert found_R[:2].tolist() == [pytest.approx(1), pytest.approx(-1)]
    assert np.isnan(found_R[2:]).all()


def test_the_report_has_every_part(run: RunFolder, tmp_path: Path) -> None:
    finding = SoftFilterAnalysis().find(Subject(run=run, config=CONFIG))
    assert not finding.problems
    titles = [table.title.removeprefix("rec: ") for table in finding.tables if table.title.startswith("rec")]
    assert titles == [
        "lift over the uniform share",
        "how weights lie",
        "does a weight tell what an entry does?",
        "the history of one user",
    ]
    assert len(finding.charts) == 4
    assert {claim.holds for claim in finding.claims} <= {"yes", "no", "undecided"}
    (history,) = [table for table in finding.tables if table.title == "rec: the history of one user"]
    for column in (2, 3):
        assert sum(float(row[column]) for row in history.rows) == pytest.approx(1, abs=0.005)
    finding.write(tmp_path)
    html = (tmp_path / "report.html").read_text()
    assert html.count("<svg ") == 4
    assert "http://" not in html.replace("http://www.w3.org", "")


def test_a_run_without_soft_filter_is_refused(tmp_path: Path, small_shards: Path) -> None:
    bare = run_of(tmp_path, small_shards, soft_filter=False)
    with pytest.raises(InputError, match=r"model.soft_filter is false.*; analyse a run that was trained with"):
        SoftFilterAnalysis().find(Subject(run=bare, config=CONFIG))


def test_weights_that_are_no_numbers_fail_their_figure_alone(run: RunFolder) -> None:
    subject = Subject(run=run, config=CONFIG)
    with torch.no_grad():
        subject.trained.model.cf_filter.query_HKD.fill_(float("nan"))
    finding = SoftFilterAnalysis().find(subject)
    assert "rec: weights of the CF view are not numbers" in finding.problems
    assert "rec: log-odds of shorter histories are not numbers" in finding.problems
    lifts = finding.tables[0]
    assert lifts.heads == ("entries", "text, positive", "text, negatives", "rows")


def test_it_is_listed() -> None:
    names = [each.name for each in ANALYSES]
    assert names.index("filter") < names.index("data")
    for each in (analysis("filter"), analysis("data")):
        assert isinstance(each, Analysis)
        assert dataclasses.is_dataclass(each) is False
