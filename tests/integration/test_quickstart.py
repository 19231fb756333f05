"""All stages on a tiny simulated log, as a user starts them; then a run that finds nothing to do."""

import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.forked_ranks import run_forked

CONFIG = """
simulate: {users: 60, items: 300, days: 6, events_per_user: 40}
data: {vocabulary: 400, title_tokens: 6, query_tokens: 4, history: 5, eval_negatives: 20, min_interactions: 2}
lightgcn: {width: 8, epochs: 2, validate_every: 1}
model: {semantic_history: pooled}
train: {steps: 4, batch: 8, warmup_steps: 2, validate_every: 2, validate_rows: 10, checkpoint_every: 2, workers: 0}
evaluation: {bootstrap: 20, catalogue_rows: 5, rows: 20}
retrieval: {candidates: 20}
"""
STAGES = ["simulate", "prepare", "lightgcn", "channels", "train", "index", "evaluate"]
METRICS = {"recall@5", "recall@10", "ndcg@5", "ndcg@10", "mrr", "count"}


def started(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A command in a folder."""
    command = [sys.executable, "-m", "gensr_dist", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=280, cwd=folder)


def forked(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The same without its imports, which one command makes."""
    return run_forked(["gensr_dist", *arguments], begin=partial(os.chdir, folder))


def gensr(folder: Path, *arguments: str, begin: Callable[..., Any] = forked) -> tuple[Any, str]:
    """The JSON object on stdout, and stderr."""
    ended = begin(folder, *arguments, "--json")
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("\n") == 1
    assert "Loading weights" not in ended.stderr  # bars of transformers
    return json.loads(ended.stdout), ended.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("quickstart")
    (folder / "tiny.yaml").write_text(CONFIG)
    return folder


@pytest.fixture(scope="module")
def first_run(folder: Path) -> tuple[Any, str]:
    return gensr(folder, "run", "tiny.yaml", begin=started)


def test_one_command_runs_every_stage_and_shows_results(first_run: tuple[Any, str]) -> None:
    result, shown = first_run
    assert (result["done"], result["skipped"]) == (STAGES, [])
    for stage in STAGES:
        assert f"{stage}: done in " in shown
    for title in ("GenSR ", "Popularity ", "Counting ", "LightGCN ", "BM25 "):
        assert f"\n  {title}" in shown
    assert shown.count("\n  is recommended: ") == 3
    assert shown.count("\n  searches '") == 3
    assert "tensorboard --logdir runs/tiny/tensorboard" in shown


def test_metrics_file(folder: Path, first_run: tuple[Any, str]) -> None:
    metrics = json.loads((folder / "runs/tiny/metrics.json").read_text())
    baselines = metrics["baselines"]
    tasks = [metrics["rec"], metrics["search"], baselines["popularity"]["rec"], baselines["popularity"]["search"]]
    tasks += [baselines["counting"]["rec"], baselines["counting"]["search"]]
    for task in [*tasks, baselines["lightgcn"]["rec"], baselines["bm25"]["search"]]:
        assert set(task) >= METRICS
        assert all(math.isfinite(task[name]) and task[name] >= 0 for name in METRICS)
        assert task["recall@5"] <= task["recall@10"]
    for order in (metrics["catalogue"], baselines["counting"]["catalogue"]):
        assert {task: values["count"] for task, values in order.items()} == {"rec": 5, "search": 5}
    for task in ("rec", "search"):
        assert 0 <= metrics["candidates"][task]["recall@50"] <= metrics["candidates"][task]["recall@500"] <= 1
    assert metrics["protocol"]["negatives"] == 20
    assert first_run[0]["stages"]["evaluate"] == metrics


def test_a_second_run_skips_everything_and_shows_the_same_table(folder: Path, first_run: tuple[Any, str]) -> None:
    result, shown = gensr(folder, "run", "tiny.yaml")
    assert (result["done"], result["skipped"]) == ([], STAGES)
    table = first_run[1][first_run[1].index("Recommendation, ") : first_run[1].index("\nuser ")]
    assert table in shown


def test_the_finished_run_answers(folder: Path, first_run: tuple[Any, str]) -> None:
    user = next(line.split()[1] for line in first_run[1].splitlines() if line.startswith("user "))
    recommended, _ = gensr(folder, "recommend", "runs/tiny", "--user", user, "-k", "5")
    query = recommended["answers"]["items"][0]["text"].split()[0] + " zzz"
    found, shown = gensr(folder, "search", "runs/tiny", "--user", user, "--query", query, "-k", "5")
    for answers in (recommended["answers"]["items"], found["answers"]["items"]):
        assert [answer["rank"] for answer in answers] == [1, 2, 3, 4, 5]
        scores = [answer["score"] for answer in answers]
        assert scores == sorted(scores, reverse=True)
        assert all(0 <= score <= 1 for score in scores)
        assert len({answer["item_id"] for answer in answers}) == 5
    assert "note: unknown words: zzz" in shown


def test_its_shards_are_whole(folder: Path, first_run: tuple[Any, str]) -> None:
    report, _ = gensr(folder, "verify", "runs/tiny/shards")
    assert report["events"] == first_run[0]["stages"]["prepare"]["events"]


def test_training_settings_do_not_redo_the_data(folder: Path, first_run: tuple[Any, str]) -> None:
    result, _ = gensr(folder, "train", "tiny.yaml", "--set", "train.steps=2")
    assert result["stage"] == "train"
    assert not result["skipped"]
    assert result["result"]["steps"] == 2
    ended = forked(folder, "recommend", "runs/tiny", "--user", "1")
    assert ended.returncode == 2  # the index is that of the model before
    assert "index was made from other results of train; run `gensr index` again" in ended.stderr
