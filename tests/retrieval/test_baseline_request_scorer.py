"""A trained baseline in GenSR's place: its own numbers, the order of answers, and what cannot be asked of it."""

import dataclasses
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor

from gensr_dist.baselines.contract import BOTH, REC, SEARCH, Baseline
from gensr_dist.baselines.registry import BASELINES
from gensr_dist.baselines.scorer import BaselineScorer
from gensr_dist.baselines.weights import WEIGHTS, facts_of
from gensr_dist.cli.main import main
from gensr_dist.config.root import load_config
from gensr_dist.data.batches.batch import ContextBatch
from gensr_dist.data.batches.collate import Collator
from gensr_dist.data.events import Behaviour
from gensr_dist.data.shards.store import TimelineStore
from gensr_dist.data.timelines.rows import EvalRows
from gensr_dist.data.timelines.splits import Split
from gensr_dist.errors import InputError
from gensr_dist.interface import Run
from gensr_dist.retrieval.added.adding import add_items
from gensr_dist.retrieval.answer import Answerer
from gensr_dist.retrieval.baseline_request_scorer import BaselineRequestScorer
from gensr_dist.retrieval.item_lists import GivenHistory
from gensr_dist.retrieval.many_answers import identity_of
from gensr_dist.retrieval.requests import Requests
from gensr_dist.runs.folder import RunFolder
from gensr_dist.runs.prepared_data import PreparedData
from gensr_dist.runs.records import StageRecord, record_path
from gensr_dist.runs.trained_run import TrainedRun
from gensr_dist.storage.checked_files import record_files
from gensr_dist.storage.records import read_json, write_json
from tests.baselines.builders import small_model, small_settings
from tests.retrieval.conftest import CONFIG

TRAINED = ("sasrec", "tem", "two_tower")  # of either task, and of both
OWN = {"sasrec": {"width": 24, "history": 3}}  # settings that are not the published ones


def record(run: RunFolder, stage: str, inputs: tuple[str, ...] = (), **changes: object) -> None:
    """Say that a stage has finished."""
    done = StageRecord(
        stage=stage,
        fingerprint=f"of {stage}",
        form=1,
        settings={},
        inputs={name: f"of {name}" for name in inputs},
        outside={},
        version="0",
        made=f"of {stage}",
        finished=True,
    )
    write_json(record_path(stage, run), dataclasses.replace(done, **changes))  # type: ignore[arg-type]


def train(run: RunFolder, name: str) -> Baseline:
    """Leave a baseline with random weights as if it had been trained."""
    own = OWN.get(name, {})
    model = small_model(name, facts_of(PreparedData.open(run, CONFIG, folds=False)), **own)
    folder = run.baseline(name).model
    folder.mkdir(parents=True)
    save_file({key: value.contiguous().clone() for key, value in model.state_dict().items()}, folder / WEIGHTS)
    settings = {f"{name}.{key}": value for key, value in dataclasses.asdict(small_settings(name, **own)).items()}
    left = record_files(run.root, [folder / WEIGHTS])
    record(run, f"baseline {name}", ("prepare", "lightgcn"), settings={"seed": 1, **settings}, contents=left)
    return model


@pytest.fixture(scope="module")
def with_baselines(run: RunFolder, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """The run with records of its stages and three baselines; do not change it."""
    own = RunFolder(tmp_path_factory.mktemp("baselines") / "run")
    shutil.copytree(run.root, own.root)
    for stage in ("prepare", "lightgcn"):
        record(own, stage)
    record(own, "index", ("prepare", "lightgcn"))
    for name in TRAINED:
        train(own, name)
    return own


@pytest.fixture
def copied(with_baselines: RunFolder, tmp_path: Path) -> RunFolder:
    shutil.copytree(with_baselines.root, tmp_path / "run")
    return RunFolder(tmp_path / "run")


@pytest.fixture(scope="module")
def opened(with_baselines: RunFolder) -> Run:
    return Run.open(with_baselines.root)


def collator_of(trained: TrainedRun, history: int) -> Collator:
    return Collator(trained.store, trained.items, trained.collator.vectors, history, context=True)


class AskedAtOnce(BaselineScorer):
    """Scores rows as if each had come right after its history, as requests do."""

    def score(self, rows: EvalRows) -> NDArray[np.floating]:
        _, time_R1 = self.collator.store.gather_moments(rows.user_R, rows.history_end_R, 1)
        now_of = dict(zip(rows.event_R.tolist(), (time_R1[:, 0] + 1).tolist(), strict=True))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(TimelineStore, "times", lambda store, user_R, event_R: np.array([now_of[e] for e in event_R]))
            return super().score(rows)


def check_scores(
    trained: TrainedRun, model: Baseline, scorer: BaselineRequestScorer, collator: Collator, task: Behaviour
) -> None:
    """Requests have the scores of the evaluation rows that ask the same, padding and passes apart."""
    rows = trained.store.eval_rows(Split.TEST, task).take(np.arange(9))
    start_R, end_R = trained.store.history_span(rows.user_R)[0], rows.history_end_R.copy()
    end_R[2], end_R[3] = start_R[2], min(end_R[3], start_R[3] + 2)
    rows = dataclasses.replace(rows, history_end_R=end_R)
    expected_RC = AskedAtOnce(model, collator, torch.device("cpu")).score(rows)
    requests = Requests.of_rows(trained.store, trained.items, rows)
    log_odds_RC = scorer.log_odds(requests, rows.candidate_RC)
    assert log_odds_RC.dtype == np.float32
    np.testing.assert_allclose(log_odds_RC, expected_RC, rtol=1e-4, atol=1e-5)
    assert log_odds_RC[0].std() > 1e-3
    order_P = np.array([4, 0, 2, 4])
    padded_PC = rows.candidate_RC[order_P]
    padded_PC[1, 3:] = -1
    real_PC = padded_PC >= 0
    found_PC = scorer.log_odds(requests.take(order_P), padded_PC)
    np.testing.assert_allclose(found_PC[real_PC], expected_RC[order_P][real_PC], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("most", [1, 25, 200_000])
@pytest.mark.parametrize("name", TRAINED)
def test_scores_are_those_of_evaluation_rows(
    with_baselines: RunFolder, opened: Run, name: str, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    scorer = BaselineRequestScorer.open(name, opened.trained)
    monkeypatch.setattr(type(scorer.model), "candidates_a_pass", most)
    assert scorer.collator.history == OWN.get(name, {"history": 5})["history"]
    model = small_model(name, facts_of(PreparedData.open(with_baselines, CONFIG, folds=False)), **OWN.get(name, {}))
    for task in sorted(model.tasks):
        check_scores(opened.trained, model, scorer, collator_of(opened.trained, scorer.collator.history), task)


@pytest.mark.parametrize("name", sorted(set(BASELINES) - set(TRAINED)))
def test_scores_of_every_other_baseline_too(with_baselines: RunFolder, opened: Run, name: str) -> None:
    model = small_model(name, facts_of(PreparedData.open(with_baselines, CONFIG, folds=False)))
    collator = collator_of(opened.trained, 5)
    scorer = BaselineRequestScorer(name, model, collator, torch.device("cpu"))
    for task in sorted(model.tasks):
        check_scores(opened.trained, model, scorer, collator, task)


class ReadsEverything(Baseline):
    """Its scores know users, behaviours, and the queries and times of the history."""

    tasks = BOTH

    def score(self, batch: ContextBatch) -> Tensor:
        told_K = (batch.query_KQ.double() + 1).log().sum(1)
        hour_GL = (batch.time_GL.double() / 3.6e6).sin()
        seen_GL = batch.history_GL > 0
        place_L = torch.arange(1, seen_GL.shape[1] + 1)
        known_GL = told_K[batch.history_query_GL] + hour_GL + batch.behaviour_GL + batch.item_U[batch.history_GL]
        known_G = (known_GL * place_L * seen_GL).sum(1) + batch.user_G + batch.query_GQ.sum(1) + batch.task_G
        return (known_G[:, None] * (batch.item_U[batch.candidate_GC] + 1)).sin()


@pytest.mark.parametrize("task", list(Behaviour))
def test_queries_times_and_users_reach_the_baseline(opened: Run, task: Behaviour) -> None:
    collator, model = collator_of(opened.trained, 6), ReadsEverything().eval()
    scorer = BaselineRequestScorer("stub", model, collator, torch.device("cpu"))
    check_scores(opened.trained, model, scorer, collator, task)


class Records(Baseline):
    """Keeps what it is shown."""

    tasks = BOTH
    shown: ContextBatch

    def score(self, batch: ContextBatch) -> Tensor:
        self.shown = batch
        return batch.candidate_GC.float()


def shown_of(opened: Run, requests: Requests) -> ContextBatch:
    model = Records()
    scorer = BaselineRequestScorer("stub", model, collator_of(opened.trained, 6), torch.device("cpu"))
    scorer.log_odds(requests, np.arange(3)[None].repeat(len(requests), axis=0))
    return model.shown


def test_a_request_is_asked_after_the_newest_interaction(opened: Run) -> None:
    store = opened.trained.store
    user_G = np.arange(4)
    start_G, end_G = store.history_span(user_G)
    shown = shown_of(opened, Requests.of_moments(store, user_G, np.where(user_G == 2, start_G, end_G)))
    assert (shown.now_G == shown.time_GL.max(1).values + 1).tolist() == [True, True, False, True]
    assert shown.now_G[2] == 0
    assert shown.user_G.tolist() == [0, 1, 2, 3]
    assert (shown.history_query_GL > 0).any()


def test_of_a_history_of_items_alone_nothing_else_is_known(opened: Run) -> None:
    given = Requests(start_G=np.array([0, 2]), item_M=np.array([5, 7]), behaviour_M=np.array([1, 2]))
    shown = shown_of(opened, given)
    assert shown.item_U[shown.history_GL].tolist() == [[5, 7, -1, -1, -1, -1]]
    assert shown.user_G.tolist() == [-1]
    assert shown.now_G.tolist() == [0]
    assert not shown.time_GL.any()
    assert not shown.history_query_GL.any()
    assert shown.query_KQ.shape[0] == 1


@pytest.mark.parametrize(("name", "query"), [("sasrec", None), ("two_tower", None), ("tem", "red w3")])
def test_the_logits_alone_order_the_candidates_of_the_channels(opened: Run, name: str, query: str | None) -> None:
    answers = opened.recommend("u3", k=25, scorer=name) if query is None else opened.search(query, "u3", scorer=name)
    plain = opened.recommend("u3", k=25) if query is None else opened.search(query, "u3", k=10)
    answerer = opened.answerer
    user_G = np.array([answerer.items.user_row("u3")])
    token_GQ = None if query is None else answerer.items.query_QT[[answerer.items.queries.index_of(query)]]
    requests = Requests.of_moments(
        answerer.store,
        user_G,
        answerer.store.history_span(user_G)[1],
        texts=None if query is None else [query],
        token_GQ=None if token_GQ is None else np.array(token_GQ, dtype=np.int64),
    )
    found = answerer.ranker.generator.candidates(requests, 25)
    logit_K = BaselineRequestScorer.open(name, opened.trained).log_odds(requests, found.item_GK)[0]
    best = np.argsort(-logit_K, kind="stable")[: len(answers.items)]
    expected = [answerer.items.item_ids[int(found.item_GK[0, place])] for place in best]
    assert [item.item_id for item in answers.items] == expected
    assert expected != [item.item_id for item in plain.items]
    np.testing.assert_allclose([item.score for item in answers.items], logit_K[best], rtol=1e-4, atol=1e-5)
    assert answers.notes == (f"scores are the logits of {name}, which alone order the candidates",)
    assert plain.notes == ()


def test_histories_reasons_and_ties_with_a_baseline(opened: Run, with_baselines: RunFolder) -> None:
    given = opened.recommend(history=["i5", "i7"], k=5, scorer="sasrec")
    assert len(given.items) == 5
    answerer = opened.answerer_by("sasrec")
    assert answerer is opened.answerer_by("sasrec") is not opened.answerer_by(None)
    nobody = GivenHistory(item_M=np.empty(0, dtype=np.int64), behaviour_M=np.empty(0, dtype=np.int64), unknown=0)
    tied = answerer.recommend(nobody, 5)  # SASRec has 0 for everything: the order of the candidates stays
    assert [item.score for item in tied.items] == [0.0] * 5
    empty = Requests(start_G=np.array([0, 0]), item_M=nobody.item_M, behaviour_M=nobody.behaviour_M)
    first_K = answerer.ranker.generator.candidates(empty, answerer.candidates).item_GK[0, :5]
    assert [item.item_id for item in tied.items] == [answerer.items.item_ids[int(row)] for row in first_K]
    for item in answerer.recommend("u3", 5, explain=True).items:
        assert item.reason is not None
        assert item.reason.attended == ()
    reasons = [item.reason for item in opened.answerer.recommend("u3", 25, explain=True).items]
    assert any(reason is not None and reason.channels for reason in reasons)


def test_items_added_after_training_are_left_out(copied: RunFolder) -> None:
    (copied.root.parent / "new.csv").write_text("item_id,text\nn0,green w5 zebra\nn1,aardvark quagga\n")
    add_items(copied, load_config(copied.config), copied.root.parent / "new.csv")
    extended = Run.open(copied.root)
    note = "items that were added after training are left out: two_tower has no vectors of them"
    found = extended.search("aardvark red", "u3", k=90, scorer="two_tower")
    assert found.notes[0] == note
    assert not {"n0", "n1"} & {item.item_id for item in found.items}
    assert {"n0", "n1"} <= {item.item_id for item in extended.search("aardvark red", "u3", k=90).items}
    notes = extended.recommend(history=["i5", "n0"], scorer="two_tower").notes
    assert "1 interactions of the history are with items that are not in the catalogue" in notes


def printed(capfd: pytest.CaptureFixture[str], command: str, run: RunFolder, *more: str) -> tuple[int, str, str]:
    status = main([command, str(run.root), "--user", "u3", *more])
    shown = capfd.readouterr()
    return status, shown.out, shown.err


def test_the_command_shows_what_the_interface_gives(
    with_baselines: RunFolder, opened: Run, capfd: pytest.CaptureFixture[str]
) -> None:
    status, out, _ = printed(capfd, "recommend", with_baselines, "--scorer", "sasrec", "-k", "4", "--json")
    answers = opened.recommend("u3", k=4, scorer="sasrec")
    assert status == 0
    assert [item["item_id"] for item in json.loads(out)["answers"]["items"]] == [i.item_id for i in answers.items]
    status, out, _ = printed(capfd, "search", with_baselines, "--query", "red", "--scorer", "tem", "-k", "4")
    assert status == 0
    assert "note: scores are the logits of tem, which alone order the candidates" in out


def test_a_file_of_users_is_answered_by_a_baseline(with_baselines: RunFolder, opened: Run, tmp_path: Path) -> None:
    asks, out = tmp_path / "asks.csv", tmp_path / "answers.parquet"
    asks.write_text("user_id\nu3\nu4\n")
    command = ["answer", str(with_baselines.root), "--users", str(asks), "--out", str(out), "-k", "4"]
    assert main([*command, "--scorer", "sasrec"]) == 0
    found = pl.read_parquet(out)
    for user in ("u3", "u4"):
        expected, own = opened.recommend(user, k=4, scorer="sasrec").items, found.filter(pl.col("user_id") == user)
        assert own["item_id"].to_list() == [item.item_id for item in expected]
        np.testing.assert_allclose(own["score"], [item.score for item in expected], rtol=1e-4, atol=1e-5)
    retrieval = opened.config.retrieval
    assert len({identity_of(opened.trained, retrieval, scorer) for scorer in ("sasrec", "two_tower", None)}) == 3


def test_a_wrong_name_is_found_before_the_model_is_opened(
    with_baselines: RunFolder, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TrainedRun, "open", lambda *_: pytest.fail("the model is opened"))
    status, _, err = printed(capfd, "recommend", with_baselines, "--scorer", "sasrek")
    assert status == 2
    assert "did you mean sasrec?" in err


def weightless(run: RunFolder) -> None:
    (run.baseline("sasrec").model / WEIGHTS).unlink()


def untrained(run: RunFolder) -> None:
    record_path("baseline sasrec", run).unlink()


def interrupted(run: RunFolder) -> None:
    changed(run, finished=False)


def of_other_shards(run: RunFolder) -> None:
    changed(run, inputs={"prepare": "others", "lightgcn": "of lightgcn"})


def of_other_settings(run: RunFolder) -> None:
    changed(run, settings={"sasrec.width": "wide"})


def of_another_width(run: RunFolder) -> None:
    changed(run, settings={"sasrec.width": 32, "sasrec.history": 3, "sasrec.heads": 2})


def not_numbers(run: RunFolder) -> None:
    place = run.baseline("sasrec").model / WEIGHTS
    model = small_model("sasrec", facts_of(PreparedData.open(run, CONFIG, folds=False)), **OWN["sasrec"])
    save_file({key: torch.full_like(value, torch.nan) for key, value in model.state_dict().items()}, place)
    changed(run, contents=[dataclasses.asdict(record) for record in record_files(run.root, [place])])


def changed(run: RunFolder, **values: object) -> None:
    path = record_path("baseline sasrec", run)
    write_json(path, {**read_json(path, ""), **values})


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (untrained, "it is not trained in this run; run `gensr baseline sasrec CONFIG`"),
        (interrupted, "its training has not finished; run `gensr baseline sasrec CONFIG`"),
        (of_other_shards, "baseline sasrec was made from other results of prepare; run `gensr baseline sasrec` again"),
        (weightless, f"{WEIGHTS}, a result of stage baseline sasrec, is gone; run `gensr baseline sasrec` again"),
        (of_other_settings, "expected the record of sasrec's settings, width: "),
        (of_another_width, "weights of a baseline with other settings; train it again"),
        (not_numbers, "scores that are not a number; train it again, with a lower sasrec.learning_rate"),
    ],
)
def test_a_baseline_that_cannot_score_is_one_line(
    copied: RunFolder, capfd: pytest.CaptureFixture[str], spoil: Callable[[RunFolder], None], said: str
) -> None:
    spoil(copied)
    status, out, err = printed(capfd, "recommend", copied, "--scorer", "sasrec")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert said in err
    assert printed(capfd, "recommend", copied)[0] == 0


@pytest.mark.parametrize(
    ("command", "scorer", "said"),
    [
        (["recommend"], "sasrek", "baseline 'sasrek': there is none of this name; did you mean sasrec?"),
        (["recommend"], "../x", "baseline '../x': there is none of this name; `gensr baseline --list` shows them"),
        (["recommend"], "tem", "baseline tem: it serves search alone, and this is rec"),
        (["search", "--query", "zzz"], "tem", "it serves search alone, and this is rec, as is a query without a known"),
        (
            ["search", "--query", "red"],
            "sasrec",
            "baseline sasrec: it serves rec alone, and this is search; choose",
        ),
        (["recommend"], "din", "din: it is not trained in this run; run `gensr baseline din CONFIG`"),
    ],
)
def test_a_baseline_that_is_not_meant_for_it_is_one_line(
    with_baselines: RunFolder, capfd: pytest.CaptureFixture[str], command: list[str], scorer: str, said: str
) -> None:
    status, out, err = printed(capfd, command[0], with_baselines, *command[1:], "--scorer", scorer)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert said in err


def test_tasks_are_those_of_the_registry() -> None:
    assert [BASELINES[name].model.tasks for name in TRAINED] == [{REC}, {SEARCH}, {REC, SEARCH}]


def test_answers_of_gensr_import_no_baseline(with_baselines: RunFolder) -> None:
    command = f"main(['recommend', {str(with_baselines.root)!r}, '--user', 'u3'])"
    others = {"gensr_dist.baselines.registry", "gensr_dist.retrieval.baseline_request_scorer"}
    program = (
        f"import sys; from gensr_dist.cli.main import main; assert {command} == 0; "
        f"assert not {others} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=280, capture_output=True)


def test_an_answerer_by_a_baseline_refuses_what_it_lacks(opened: Run) -> None:
    with pytest.raises(InputError, match="did you mean two_tower"):
        Answerer(opened.trained, opened.config, "two_towers")
