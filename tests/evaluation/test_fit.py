import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gensr_dist.errors import InputError
from gensr_dist.evaluation.fit import FitRecord, RowsFit, StepFit, TaskFit, fit_warnings, keep_fit, read_fit
from gensr_dist.evaluation.metrics import TaskMetrics
from gensr_dist.evaluation.protocol import RankedRows


def rows(ndcg: float, loss: float = 0.5, *, error: float = 0.01, count: int = 500) -> RowsFit:
    metrics = {"recall@1": ndcg / 2, "ndcg@10": ndcg, "mrr": ndcg / 3}
    return RowsFit(metrics=metrics, loss=loss, ndcg_error=error, loss_error=error, count=count)


def at(step: int, **tasks: TaskFit) -> StepFit:
    return StepFit(step=step, tasks=tasks)


def record(best: StepFit | None, last: StepFit | None = None, *, cf_saw_rows: bool = False) -> FitRecord:
    last = last or best
    assert last is not None
    return FitRecord(best=best, last=last, cf_saw_rows=cf_saw_rows)


@given(st.lists(st.tuples(st.integers(1, 30), st.floats(0, 5)), min_size=1, max_size=50))
def test_means_and_their_errors(found: list[tuple[int, float]]) -> None:
    rank_R, loss_R = np.array([rank for rank, _ in found]), np.array([loss for _, loss in found])
    fit = RowsFit.of(RankedRows(rank_R, loss_R))
    metrics = TaskMetrics.from_ranks(rank_R, np.arange(len(rank_R)), resamples=0, seed=0)
    assert fit.values() == {**metrics.values(), "loss": fit.loss}
    gains = [1 / np.log2(1 + rank) if rank <= 10 else 0.0 for rank in rank_R.tolist()]
    assert fit.count == len(found)
    assert fit.ndcg == pytest.approx(sum(gains) / len(gains))
    assert fit.ndcg_error == pytest.approx((np.var(gains) / len(gains)) ** 0.5, abs=1e-12)
    assert fit.loss == pytest.approx(sum(loss_R) / len(loss_R))
    assert fit.loss_error == pytest.approx((np.var(loss_R) / len(loss_R)) ** 0.5, abs=1e-12)


def test_gaps_say_by_how_much_training_rows_do_better() -> None:
    fit = TaskFit(training=rows(0.6, 0.25), validation=rows(0.5, 0.375))
    assert fit.gaps() == pytest.approx({"ndcg@10": 0.1, "loss": 0.125})
    assert TaskFit(training=None, validation=rows(0.5)).gaps() == {}


@pytest.mark.parametrize(
    ("cf_saw_rows", "cause"),
    [
        (True, "CF vectors have seen the training rows' edges (lightgcn.folds)"),
        (False, "memorising: fewer steps, dropout, or more data"),
    ],
)
def test_a_task_whose_training_rows_do_much_better_is_named_with_the_likely_cause(
    cf_saw_rows: bool, cause: str
) -> None:
    fits = {
        "rec": TaskFit(training=rows(0.571), validation=rows(0.458)),
        "search": TaskFit(training=rows(0.479), validation=rows(0.4)),
    }
    assert fit_warnings(record(at(400, **fits), cf_saw_rows=cf_saw_rows)) == (
        f"rec: ndcg@10 0.5710 of training rows, 0.4580 of validation rows at step 400; {cause}",
    )


@pytest.mark.parametrize(
    ("training", "validation", "warns"),
    [
        (rows(0.6), rows(0.5), True),
        (rows(0.57), rows(0.5), False),  # not enough
        (rows(0.5), rows(0.6), False),  # the other way round
        (rows(0.6, error=0.04), rows(0.5, error=0.03), False),  # exactly two errors of the difference
        (rows(0.601, error=0.04), rows(0.5, error=0.03), True),
        (rows(0.9, count=29), rows(0.5), False),
        (rows(0.9), rows(0.5, count=29), False),
        (rows(0.9, count=30), rows(0.5, count=30), True),
        (None, rows(0.5), False),
    ],
)
def test_a_gap_must_be_large_and_no_chance(training: RowsFit | None, validation: RowsFit, warns: bool) -> None:
    found = fit_warnings(record(at(1, rec=TaskFit(training=training, validation=validation))))
    assert len(found) == warns


def test_a_validation_that_falls_is_told_apart_from_noise() -> None:
    def fell(then: RowsFit, now: RowsFit, steps: tuple[int, int] = (400, 900)) -> tuple[str, ...]:
        best, last = (
            at(step, search=TaskFit(training=fit, validation=fit)) for step, fit in zip(steps, (then, now), strict=True)
        )
        return fit_warnings(record(best, last))

    then = rows(0.41, 0.5)
    end = "from step 400 to 900 while training went on; the model is that of step 400"
    assert fell(then, rows(0.37, 0.5)) == (f"search: validation ndcg@10 fell from 0.4100 to 0.3700 {end}",)
    assert fell(then, rows(0.42, 0.6)) == (f"search: validation loss rose from 0.5000 to 0.6000 {end}",)
    assert fell(then, rows(0.37, 0.6)) == (
        f"search: validation ndcg@10 fell from 0.4100 to 0.3700 and loss rose from 0.5000 to 0.6000 {end}",
    )
    assert fell(then, rows(0.39, 0.52)) == ()  # less than two errors, .0283
    assert fell(then, rows(0.45, 0.4)) == ()
    assert fell(then, rows(0.1, 0.9), (400, 400)) == ()
    assert fell(rows(0.41, count=20), rows(0.1, count=20)) == ()


def test_both_kinds_of_warnings_and_none() -> None:
    best = at(2, rec=TaskFit(training=rows(0.8), validation=rows(0.5)))
    last = at(
        4, rec=TaskFit(training=rows(0.9), validation=rows(0.4)), search=TaskFit(training=None, validation=rows(0))
    )
    assert [line.split(" ")[1] for line in fit_warnings(record(best, last))] == ["ndcg@10", "validation"]
    assert fit_warnings(None) == fit_warnings(record(None, last)) == ()


def test_the_record_follows_the_best_and_the_last_validation(tmp_path: Path) -> None:
    path = tmp_path / "fit.json"
    assert read_fit(path) is None
    steps = [
        at(
            step,
            rec=TaskFit(training=rows(0.1 * step), validation=rows(0.1)),
            search=TaskFit(training=None, validation=rows(0.2)),
        )
        for step in range(1, 4)
    ]
    kept: FitRecord | None = None
    for step, is_best, best in zip(steps, (True, True, False), (1, 2, 2), strict=True):
        kept = keep_fit(path, kept, step, is_best=is_best, cf_saw_rows=True)
        assert read_fit(path) == kept == FitRecord(best=steps[best - 1], last=step, cf_saw_rows=True)
    unknown = keep_fit(path, None, steps[2], is_best=False, cf_saw_rows=False)
    assert read_fit(path) == unknown == FitRecord(best=None, last=steps[2], cf_saw_rows=False)
    assert [file.name for file in tmp_path.iterdir()] == ["fit.json"]


def test_a_file_that_is_no_record_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "fit.json"
    for content in ("{", "[]", json.dumps({"best": None, "last": {"step": "x", "tasks": {}}, "cf_saw_rows": True})):
        path.write_text(content)
        with pytest.raises(InputError, match=r"fit\.json"):
            read_fit(path)
