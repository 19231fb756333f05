"""Figures of a study."""

from gensr_dist.evaluation.metrics import TASK_NAMES, TASK_TITLES
from gensr_dist.pages.charts import LineChart, PointChart, Series
from gensr_dist.study.result import StudyResult

TASKS = {name: TASK_TITLES[task].lower() for task, name in TASK_NAMES.items()}


def curves(result: StudyResult) -> LineChart | None:
    """Mean validation NDCG@10 over minutes of training, a line a system; None where nothing was trained."""
    drawn = [system for system in result.systems if len(system.curve) > 1]
    if not drawn:
        return None
    title = "Validation N@10 during training"
    return LineChart(
        name="curves",
        title=title,
        alt=f"{title} of {', '.join(system.label for system in drawn)}.",
        x="minutes of training",
        y="N@10, mean of the system's tasks",
        series=tuple(
            Series(
                label=system.label,
                x=tuple(seconds / 60 for seconds, _ in system.curve),
                y=tuple(value for _, value in system.curve),
            )
            for system in drawn
        ),
    )


def quality(result: StudyResult) -> PointChart | None:
    """NDCG@10 of each task against minutes of a training; None where nothing was trained."""
    found = [
        (name, [system for system in result.systems if system.seconds and task in system.sampled], task)
        for task, name in TASKS.items()
    ]
    drawn = [(name, systems, task) for name, systems, task in found if systems]
    if not drawn:
        return None
    return PointChart(
        name="quality",
        title="Quality against cost",
        alt="N@10 of test rows over minutes of a training, a point a system and task.",
        x="minutes a training",
        y="N@10 of test rows",
        log_x=True,
        series=tuple(
            Series(
                label=name,
                x=tuple(system.seconds / 60 for system in systems),
                y=tuple(system.sampled[task]["ndcg@10"].mean for system in systems),
            )
            for name, systems, task in drawn
        ),
        names=tuple(tuple(system.label for system in systems) for _, systems, _ in drawn),
    )
