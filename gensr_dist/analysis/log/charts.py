"""Charts of a log.

Dimensions: I items, X users or rows.
"""

import numpy as np
from numpy.typing import NDArray

from gensr_dist.analysis.log.counts import LogCounts
from gensr_dist.evaluation.metrics import TASK_NAMES
from gensr_dist.pages.charts import LineChart, Series

_POINTS = 60  # of a line


def length_chart(counts: LogCounts) -> LineChart:
    """How many users have so many interactions, and how many test rows so long a history."""
    before = {
        f"history of a test row, {TASK_NAMES[task]}": np.concatenate(found.history_R)
        for task, found in counts.tasks.items()
        if found.test
    }
    values = {"interactions of a user": counts.lengths, **before}
    longest = max([1, *(int(value_X.max()) for value_X in values.values() if len(value_X))])
    at = np.unique(np.geomspace(1, longest, _POINTS).round()).astype(np.int64)
    return LineChart(
        name="lengths",
        title="Lengths",
        alt="Share of users with at least so many interactions, and of test rows with at least so long a history.",
        x="interactions",
        y="share with at least so many",
        log_x=True,
        series=tuple(
            Series(label=label, x=tuple(at.astype(float).tolist()), y=_at_least(value_X, at))
            for label, value_X in values.items()
            if len(value_X)
        ),
    )


def tail_chart(popularity_I: NDArray[np.integer]) -> LineChart:
    """How much of the training choices the most popular items have."""
    items = len(popularity_I)
    sum_I = np.cumsum(np.sort(popularity_I)[::-1].astype(np.int64))
    at = np.unique(np.geomspace(1, items, _POINTS).round()).astype(np.int64)
    share = sum_I[at - 1] / max(1, int(sum_I[-1]))
    return LineChart(
        name="tail",
        title="Popularity and its tail",
        alt="Share of training choices that are of the most popular items, over the share of items.",
        x="share of items, the most popular first",
        y="share of training choices",
        log_x=True,
        series=(Series(label="items", x=tuple((at / items).tolist()), y=tuple(share.tolist())),),
    )


def _at_least(value_X: NDArray[np.integer], at: NDArray[np.int64]) -> tuple[float, ...]:
    sorted_X = np.sort(value_X)
    return tuple((1 - np.searchsorted(sorted_X, at, side="left") / len(sorted_X)).tolist())
