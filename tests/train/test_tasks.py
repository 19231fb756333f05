"""Trainings of one task alone, and of the newest rows alone."""

from pathlib import Path

import numpy as np
import pytest

from gensr_dist.data.batches.chosen_order import rows_of_tasks
from gensr_dist.data.events import Behaviour
from gensr_dist.data.shards.store import TimelineStore
from gensr_dist.evaluation.fit import read_fit
from gensr_dist.runs.folder import RunFolder
from gensr_dist.train.events import VARIABLE, events_path, read_events
from gensr_dist.train.loop import train
from gensr_dist.train.training_rows import training_order
from tests.train.small_runs import scalars, small_config


@pytest.mark.parametrize(("tasks", "own", "other"), [("search", "search", "rec"), ("recommendation", "rec", "search")])
def test_one_task_alone_is_trained_and_validated(small_run: RunFolder, tasks: str, own: str, other: str) -> None:
    config = small_config(tasks=tasks)
    assert config.train.trained_tasks == {Behaviour[tasks.upper()]}
    result = train(config, small_run)
    fit = read_fit(small_run.fit)
    assert fit is not None
    assert fit.best is not None
    assert list(fit.best.tasks) == [own]
    assert result.best_ndcg == fit.best.tasks[own].validation.ndcg
    points = scalars(small_run)
    assert f"step_{own}/loss" in points
    assert f"step_{other}/loss" not in points  # no row of it was seen


@pytest.mark.parametrize("tasks", ["both", "search"])
def test_the_newest_rows_alone_are_trained_on(
    small_run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tasks: str
) -> None:
    config = small_config(tasks=tasks, newest_rows=2)
    store = TimelineStore.open(small_run.shards)
    wanted = np.concatenate(rows_of_tasks(store, config.train.trained_tasks, 2))
    order = training_order(store, config.train, config.seed)
    assert order.rows == len(wanted) < sum(store.window_rows)
    monkeypatch.setenv(VARIABLE, str(tmp_path / "events"))
    train(config, small_run)
    seen = {row for event in read_events(events_path(tmp_path / "events", 0)) for row in event.rows}
    assert len(seen) > 10
    assert seen <= set(wanted.tolist())
