"""Trainings of one task alone."""

import pytest

from gensr_dist.data.events import Behaviour
from gensr_dist.evaluation.fit import read_fit
from gensr_dist.runs.folder import RunFolder
from gensr_dist.train.loop import train
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
