"""Logs that lack something, through the command line: what is left out is said; and folds that cannot be."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from gensr_dist.cli.main import main

DAY = 86_400_000
START = 1_600_000_000_000
USERS, ITEMS = 100, 60
CONFIG = """
data: {source: tables, raw: raw, split: leave_one_out, min_interactions: 1, both_behaviours: false, vocabulary: 400,
       title_tokens: 6, query_tokens: 4, history: 5, eval_negatives: 20}
lightgcn: {width: 8, epochs: 2, validate_every: 1, folds: 2}
model: {semantic_history: pooled}
train: {steps: 4, batch: 8, warmup_steps: 2, validate_every: 2, validate_rows: 10, checkpoint_every: 2, workers: 0}
evaluation: {bootstrap: 20, catalogue_rows: 5, rows: 20}
retrieval: {candidates: 20}
"""
METRICS = {"ndcg@10", "recall@10", "mrr"}


def event(user: int, step: int, *, search: bool) -> str:
    query = f"thing {step}" if search else ""
    behaviour, time = "src" if search else "rec", START + step * DAY + user
    return f"u{user},i{(7 * user + 11 * step) % ITEMS},{behaviour},{time},{query},1"


def log(
    folder: Path, *, texts: bool = True, searches: bool = True, users: int = USERS, recommended: int = USERS
) -> None:
    """Each user meets eight items, every third by a search; users from `recommended` on meet all by searches."""
    (folder / "raw").mkdir()
    events = [
        event(user, step, search=searches and ((step + user) % 3 == 0 or user >= recommended))
        for user in range(users)
        for step in range(8)
    ]
    items = [f"i{item},{f'red thing {item}' if texts else ''}" for item in range(ITEMS)]
    (folder / "raw" / "events.csv").write_text(
        "\n".join(["user_id,item_id,behaviour,time,query,positive", *events, ""])
    )
    (folder / "raw" / "items.csv").write_text("\n".join(["item_id,text", *items, ""]))
    (folder / "c.yaml").write_text(CONFIG)


def gensr(capfd: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr."""
    capfd.readouterr()
    code = main([*arguments, "--json"])
    out, err = capfd.readouterr()
    assert "Traceback" not in err
    return code, out, err


def ran(
    folder: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tasks: Sequence[str]
) -> tuple[Any, str, str]:
    """Results of `gensr run`, what it said, and the report; results of the tasks exist and are sound."""
    monkeypatch.chdir(folder)
    code, out, err = gensr(capfd, "run", "c.yaml")
    assert code == 0, err
    stages = json.loads(out.splitlines()[-1])["stages"]  # DeepSpeed holds pytest's own stream from its import on
    metrics = json.loads((folder / "runs/c/metrics.json").read_text())
    assert metrics == stages["evaluate"]
    assert set(metrics["protocol"]["rows"]) == {task for task in ("rec", "search") if task in metrics} == set(tasks)
    for task in tasks:
        assert metrics[task]["count"] == 20
        assert all(0 <= metrics[task][name] <= 1 for name in METRICS)
        assert all(task in metrics["baselines"][name] for name in ("popularity", "counting"))
    leak = stages["lightgcn"]["leak"]
    assert all(0 < leak[name] < 1 for name in ("training_whole", "training_without", "validation"))
    assert len(stages["lightgcn"]["without_fold"]) == 2
    assert "with 2 more trainings, each without a part of the users" in err
    return stages, err, (folder / "runs/c/report.md").read_text()


def test_a_hundred_users(tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    log(tmp_path)
    stages, said, report = ran(tmp_path, capfd, monkeypatch, ["rec", "search"])
    assert stages["prepare"]["users"] == USERS
    assert stages["prepare"]["repairs"] == []
    assert "no test row" not in said
    assert "\n- Rows: 20 of " in report
    assert "no search" not in report


def test_items_without_text(tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    log(tmp_path, texts=False)
    stages, said, _ = ran(tmp_path, capfd, monkeypatch, ["rec", "search"])
    repairs = {repair["what"]: repair["count"] for repair in stages["prepare"]["repairs"]}
    assert repairs == {"items with no text kept": ITEMS, "items without text: their title is all padding": ITEMS}
    assert all(f"{count} {what}" in said for what, count in repairs.items())
    assert said.count("  is recommended: item i") == 3
    bm25 = stages["evaluate"]["baselines"]["bm25"]["search"]
    assert bm25["ndcg@10"] == 0  # ties count against the positive


def test_no_searches(tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    log(tmp_path, searches=False)
    stages, said, report = ran(tmp_path, capfd, monkeypatch, ["rec"])
    assert stages["prepare"]["queries"] == 0
    assert stages["prepare"]["search"] == {"train": 0, "valid": 0, "test": 0}
    assert "search (train 0, valid 0, test 0)" in said
    assert "bm25" not in stages["evaluate"]["baselines"]
    assert said.count("\n  Search: no test row\n") == 1
    assert "\n- Rows: 20 of 100 rec, no search (test split" in report


def test_no_searches_where_users_must_have_searched(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    log(tmp_path, searches=False)
    code, out, err = gensr(capfd, "run", "c.yaml", "--set", "data.both_behaviours=true")
    assert (code, out) == (2, "")
    assert f"no user of {USERS} is left" in err
    assert "set data.both_behaviours to false" in err


@pytest.mark.parametrize(
    ("users", "recommended", "folds", "expected"),
    [
        (12, 12, 13, "lightgcn.folds: 13 parts of 12 users; lower it"),
        (12, 12, 1, "--set lightgcn.folds=1: lightgcn.folds: one fold leaves no user to learn from"),
        (12, 1, 2, "lightgcn.folds: every training edge is of fold "),
    ],
)
def test_folds_that_cannot_be_are_one_line_and_exit_2(
    users: int,
    recommended: int,
    folds: int,
    expected: str,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    log(tmp_path, users=users, recommended=recommended)
    code, out, err = gensr(capfd, "run", "c.yaml", "--set", f"lightgcn.folds={folds}")
    assert (code, out) == (2, "")
    errors = [line for line in err.splitlines() if line.startswith("gensr: error: ")]
    assert errors == err.splitlines()[-1:]
    assert errors[0].startswith(f"gensr: error: {expected}")
    assert not (tmp_path / "runs/c/cf").exists()
