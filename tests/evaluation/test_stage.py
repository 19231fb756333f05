import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gensr_dist.baselines.untrained.systems import compared_scorers
from gensr_dist.config.root import Config
from gensr_dist.data.cf_vectors import save_cf
from gensr_dist.data.config import DataConfig
from gensr_dist.data.events import Behaviour
from gensr_dist.data.items import ItemStore
from gensr_dist.data.shards.store import TimelineStore
from gensr_dist.data.timelines.rows import EvalRows
from gensr_dist.data.timelines.splits import Split
from gensr_dist.errors import InputError
from gensr_dist.evaluation.catalogue_metrics import ANSWERS, COUNTING, CatalogueMetrics
from gensr_dist.evaluation.config import EvaluationConfig
from gensr_dist.evaluation.fit import RowsFit, StepFit, TaskFit, fit_warnings, keep_fit
from gensr_dist.evaluation.markdown import report_markdown, write_report
from gensr_dist.evaluation.metrics import MISSED, TASK_NAMES, CandidateMetrics, TaskMetrics
from gensr_dist.evaluation.protocol import RankedRows
from gensr_dist.evaluation.report import EvaluationProtocol, EvaluationResult, metrics_json
from gensr_dist.evaluation.significance import compare_runs, load_ranks
from gensr_dist.evaluation.stage import evaluate
from gensr_dist.model.config import ModelConfig
from gensr_dist.model.gensr import GenSR
from gensr_dist.retrieval.channels.stage import build_channels
from gensr_dist.retrieval.config import RetrievalConfig
from gensr_dist.retrieval.stage import index_run
from gensr_dist.runs.folder import RunFolder
from gensr_dist.runs.trained_run import TrainedRun
from gensr_dist.stages.evaluate import Evaluate
from gensr_dist.stages.stage import Job

BOTH = ["gensr", "popularity", "counting"]  # scorers of both tasks
KEYS = {f"{name}@{cutoff}" for name in ("recall", "ndcg") for cutoff in (1, 5, 10, 20)} | {"mrr", "count", "intervals"}
CONFIG = EvaluationConfig(rows=40, prompts=160, bootstrap=200)
CATALOGUE = (
    CatalogueMetrics.from_ranks(
        Behaviour.SEARCH,
        {ANSWERS: np.array([1, MISSED]), COUNTING: np.array([2, 44])},
        {"text": np.array([True, False])},
        np.arange(2),
        candidates=30,
        resamples=200,
        seed=0,
    ),
)
CANDIDATES = (
    CandidateMetrics.from_ranks(
        Behaviour.RECOMMENDATION,
        {"all": np.array([1, 51, 200, 500]), "text": np.full(4, MISSED)},
        fusion="all",
    ),
)


@pytest.fixture(scope="module")
def run(
    tmp_path_factory: pytest.TempPathFactory, small_shards: Path, small_items: ItemStore, small_store: TimelineStore
) -> RunFolder:
    """A run folder with an untrained model."""
    run = RunFolder(tmp_path_factory.mktemp("run"))
    shutil.copytree(small_shards, run.root / "shards")
    build_channels(small_store, small_items, run.channels)
    rng = np.random.default_rng(0)
    save_cf(
        run.cf,
        rng.normal(size=(small_store.items, 8)),
        rng.normal(size=(small_store.users, 8)),
        {
            "seed": 0,
            "result": {"items": small_store.items, "users": small_store.users},
            "settings": {"width": 8, "folds": 0},
        },
    )
    tokenizer = small_items.tokenizer
    GenSR.build(ModelConfig(), tokenizer, cf_width=8).save_pretrained(run.model, tokenizer)
    return run


def tables(report: str) -> list[tuple[str, int]]:
    """The heads of each table, and the bars of each of its lines, which are equally many."""
    found = []
    for block in report.split("\n\n"):
        if block.startswith("|"):
            (width,) = {line.count("|") for line in block.strip().splitlines()}
            found.append((block.splitlines()[0], width))
    return found


def opened(run: RunFolder) -> TrainedRun:
    return TrainedRun.open(run, Config(data=DataConfig(history=5)))


def evaluated(trained: TrainedRun, config: EvaluationConfig, **more: Any) -> EvaluationResult:
    """Beside the scorers that every evaluation shows."""
    compared = compared_scorers(trained.data)
    return evaluate(trained, config, 0, training_negatives=4, compared=compared, **more)


@pytest.fixture(scope="module")
def result(run: RunFolder) -> EvaluationResult:
    return evaluated(opened(run), CONFIG, catalogue=CATALOGUE, candidates=CANDIDATES)


def test_metrics_json_has_the_published_shape(run: RunFolder, result: EvaluationResult) -> None:
    found = json.loads(run.metrics.read_text())
    assert found.keys() == {
        "rec",
        "search",
        "baselines",
        "significance",
        "strata",
        "calibration",
        "catalogue",
        "candidates",
        "protocol",
    }
    assert found["rec"].keys() == found["search"].keys() == KEYS
    shape = {name: sorted(tasks.keys() - {"catalogue"}) for name, tasks in found["baselines"].items()}
    both = ["rec", "search"]
    assert shape == {"popularity": both, "counting": both, "lightgcn": ["rec"], "bm25": ["search"]}
    for name, tasks in found["baselines"].items():
        assert all(tasks[task].keys() == KEYS for task in shape[name])
    assert found["rec"]["count"] == 40
    low, high = found["search"]["intervals"]["ndcg@10"]
    assert low < found["search"]["ndcg@10"] < high
    protocol = found["protocol"]
    assert protocol.keys() == {field.name for field in dataclasses.fields(EvaluationProtocol)}
    assert (protocol["split"], protocol["split_method"], protocol["cutoffs"]) == ("test", "time", [1, 5, 10, 20])
    assert protocol["negatives_seed"] == 0
    assert protocol["ties"].startswith("ranked pessimistically")
    assert (protocol["negatives"], protocol["seed"], protocol["rows"]) == (9, 0, {"rec": 40, "search": 40})
    assert protocol["rows_available"]["rec"] > 40
    assert found["significance"]["gensr_vs_lightgcn"]["rec"]["count"] == 40
    assert found["significance"]["gensr_vs_counting"].keys() == {"rec", "search"}
    assert found["catalogue"].keys() == {"search"}
    assert found["catalogue"]["search"]["candidate_recall"] == 0.5
    assert found["baselines"]["counting"]["catalogue"]["search"]["recall@5"] == 0.5
    recall = {"recall@50": 0.25, "recall@100": 0.5, "recall@200": 0.75, "recall@500": 1.0}
    nothing = dict.fromkeys(recall, 0.0)
    assert found["candidates"] == {"rec": {**recall, "union": nothing, "channels": {"text": nothing}, "count": 4}}
    assert "| Recommendation | fusion | 0.2500 | 0.5000 | 0.7500 | 1.0000 | 4 |" in run.report.read_text()


def test_the_report_says_what_the_json_says(run: RunFolder, result: EvaluationResult) -> None:
    report = run.report.read_text()
    for task in (Behaviour.RECOMMENDATION, Behaviour.SEARCH):
        metrics = result.gensr[task]
        assert f"| GenSR | {metrics.recall[1].value:.4f} | {metrics.recall[5].value:.4f} |" in report
    assert "| Answers: channels and GenSR | 0.5000 | 0.5000 |" in report
    assert "| Counting over every item | 0.0000 | 0.5000 |" in report
    assert f"40 of {result.protocol.rows_available['rec']:,} rec" in report
    assert "95% intervals from 200 bootstrap resamples of the users" in report
    assert [width for heads, width in tables(report) if "R@1 |" in heads] == [11, 11, 10]


def test_strata_add_up_to_the_results(run: RunFolder, result: EvaluationResult) -> None:
    found = json.loads(run.metrics.read_text())
    assert found["strata"].keys() == {"rec", "search"}
    scorers = {"rec": ["gensr", "popularity", "counting", "lightgcn"], "search": [*BOTH, "bm25"]}
    for name, parts in found["strata"].items():
        assert parts.keys() == {"popularity", "history"}
        for strata in parts.values():
            count = [stratum["count"] for stratum in strata]
            assert sum(count) == 40
            for scorer in scorers[name]:
                metrics = found[name] if scorer == "gensr" else found["baselines"][scorer][name]
                for metric in ("recall@10", "ndcg@10"):
                    mean = np.average([stratum[metric][scorer] for stratum in strata], weights=count)
                    assert mean == pytest.approx(metrics[metric])
            assert all(stratum["ndcg@10"].keys() == set(scorers[name]) for stratum in strata)


def test_the_report_has_a_table_of_each_kind_of_strata(run: RunFolder, result: EvaluationResult) -> None:
    report = run.report.read_text()
    assert report.count("By users who chose the positive in training:") == 2
    assert report.count("By interactions before the row:") == 2
    assert [width for heads, width in tables(report) if "Rows | GenSR" in heads] == [11, 11, 11, 11]
    for task in TASK_NAMES:
        for stratum in (*result.strata[task].popularity, *result.strata[task].history):
            gensr, popularity = ((stratum.ndcg[name], stratum.recall[name]) for name in ("gensr", "popularity"))
            cells = " | ".join(f"{value:.4f}" for value in (*gensr, *popularity))
            assert f"\n| {stratum.label} | {stratum.count} | {cells} |" in report


def test_saved_ranks_are_those_of_the_table(run: RunFolder, result: EvaluationResult) -> None:
    rank_R, user_R = load_ranks(run.root, Behaviour.SEARCH)
    assert len(np.unique(user_R)) < len(user_R) == 40
    again = TaskMetrics.from_ranks(rank_R, user_R, resamples=CONFIG.bootstrap, seed=0)
    assert again == result.gensr[Behaviour.SEARCH]
    assert np.mean(rank_R <= 5) == result.gensr[Behaviour.SEARCH].recall[5].value
    assert sorted(path.name for path in (run.root / "ranks").iterdir()) == ["rec.npy", "search.npy"]
    comparison = compare_runs(run.root, run.root)
    assert comparison.tasks.keys() == {"rec", "search"}
    for task, name in TASK_NAMES.items():
        found = comparison.tasks[name]
        assert found.first == found.second == pytest.approx(result.gensr[task].ndcg[10].value)
        assert (found.test.difference, found.test.count) == (0, 40)


def test_results_do_not_depend_on_the_budget(run: RunFolder, result: EvaluationResult) -> None:
    again = evaluated(opened(run), dataclasses.replace(CONFIG, prompts=70), catalogue=CATALOGUE, candidates=CANDIDATES)
    assert again == result


def test_without_bootstrap_there_is_no_significance(run: RunFolder) -> None:
    quick = evaluated(opened(run), EvaluationConfig(rows=10, bootstrap=0))
    assert all(not scorer.behind for scorer in quick.scorers)
    assert quick.gensr[Behaviour.SEARCH].mrr.interval is None
    write_report(run, quick)
    report = run.report.read_text()
    assert "Whole catalogue" not in report
    for absent in ("[", "Brackets", "bootstrap", "- p:", "p =", "lead in"):
        assert absent not in report
    assert [width for heads, width in tables(report) if "R@1 |" in heads] == [10, 10]
    found = json.loads(run.metrics.read_text())
    tasks = [
        found["rec"],
        found["search"],
        *(metrics for by_task in found["baselines"].values() for metrics in by_task.values()),
    ]
    assert all(metrics.keys() == KEYS - {"intervals"} for metrics in tasks)
    assert not any(found["significance"].values())


def test_training_rows_stand_beside_validation_rows_where_the_training_kept_them(
    run: RunFolder, result: EvaluationResult
) -> None:
    assert "fit" not in metrics_json(result)
    assert "Training rows" not in report_markdown(result)
    train, valid, searches = (
        RowsFit.of(RankedRows(np.full(count, rank), np.full(count, loss)))
        for count, rank, loss in ((50, 1, 0.25), (60, 3, 0.5), (4_000, 2, 0.125))
    )
    step = StepFit(
        step=400,
        tasks={"rec": TaskFit(training=train, validation=valid), "search": TaskFit(training=None, validation=searches)},
    )
    record = keep_fit(run.fit, None, step, is_best=True, cf_saw_rows=False)
    try:
        found = evaluated(opened(run), dataclasses.replace(CONFIG, rows=2))
    finally:
        run.fit.unlink()
    assert found.fit == record
    report = report_markdown(found)
    assert "with the weights of step 400" in report
    training_row = "| Recommendation | training |" + " 1.0000 |" * 8 + " 0.2500 | 50 |"
    validation_row = (
        "| Recommendation | validation | 0.0000" + " | 1.0000" * 3 + " | 0.5000" * 3 + " | 0.3333 | 0.5000 | 60 |"
    )
    assert f"{training_row}\n{validation_row}\n| Search | validation | 0.0000 | 1.0000 |" in report
    (warning,) = fit_warnings(record)
    assert f"\nWarning: {warning}.\n" in report
    shown = metrics_json(found)["fit"]
    assert shown["best_step"] == 400
    assert shown["warnings"] == [warning]
    assert shown["tasks"]["rec"]["gap"] == {"ndcg@10": 0.5, "loss": 0.25}
    assert shown["tasks"]["rec"]["training"]["mrr"] == 1
    assert shown["tasks"]["search"]["training"] is None
    assert shown["tasks"]["search"]["validation"]["count"] == 4_000


def test_a_log_without_searches_has_no_search_results(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = TimelineStore.eval_rows

    def recommendation_only(store: TimelineStore, split: Split, task: Behaviour) -> EvalRows:
        found = rows(store, split, task)
        return found.take(np.arange(0)) if task == Behaviour.SEARCH else found

    monkeypatch.setattr(TimelineStore, "eval_rows", recommendation_only)
    evaluated(opened(run), CONFIG)
    found = json.loads(run.metrics.read_text())
    assert "search" not in found
    assert found["baselines"].keys() == {"popularity", "counting", "lightgcn"}
    assert found["strata"].keys() == {"rec"}
    assert "Search" not in run.report.read_text()


def test_a_run_without_a_model_is_refused(run: RunFolder, tmp_path: Path) -> None:
    other = RunFolder(tmp_path)
    shutil.copytree(run.root / "shards", other.root / "shards")
    shutil.copytree(run.cf, other.cf)
    with pytest.raises(InputError, match="not a saved GenSR model"):
        evaluated(opened(other), CONFIG)
    assert not other.metrics.exists()


def test_a_log_without_test_rows_is_refused(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = TimelineStore.eval_rows

    def none_in_test(store: TimelineStore, split: Split, task: Behaviour) -> EvalRows:
        return rows(store, split, task).take(np.arange(0))

    monkeypatch.setattr(TimelineStore, "eval_rows", none_in_test)
    with pytest.raises(InputError, match="no test row of either task"):
        evaluated(opened(run), CONFIG)


@pytest.mark.parametrize("compiles", [False, True])
def test_the_stage_compiles_where_it_is_asked_to(
    run: RunFolder, compiles: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled: list[TrainedRun] = []
    monkeypatch.setattr(TrainedRun, "compile", lambda trained: compiled.append(trained))
    evaluation = dataclasses.replace(CONFIG, rows=2, catalogue_rows=2, compile=compiles)
    retrieval = RetrievalConfig(fit_rows=0, candidates=20)
    config = Config(data=DataConfig(history=5), evaluation=evaluation, retrieval=retrieval)
    trained = opened(run)
    build_channels(trained.store, trained.items, run.channels)
    index_run(trained, config)
    result = Evaluate().do(Job(config=config, run=run)).result
    assert len(compiled) == compiles
    for name in ("rec", "search"):
        assert result["catalogue"][name]["count"] == result["candidates"][name]["count"] == 2
        assert result["baselines"]["counting"]["catalogue"][name]["count"] == 2


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs g++")
def test_compiled_blocks_rank_as_others_do(run: RunFolder, result: EvaluationResult) -> None:
    trained = opened(run)
    trained.compile()
    again = evaluated(trained, CONFIG, catalogue=CATALOGUE, candidates=CANDIDATES)
    for task in TASK_NAMES:
        found, expected = again.gensr[task].mrr.value, result.gensr[task].mrr.value
        assert found == pytest.approx(expected, abs=1e-2)  # nearly equal scores may turn
