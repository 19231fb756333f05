"""`gensr analyse filter`: what the soft filters attend to, and whether that matters to the answer.

Dimensions: R rows, C candidates (column 0 is the positive), L history, A places before the newest.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from gensr_dist.analysis.contract import Analysis
from gensr_dist.analysis.finding import Claim, Finding
from gensr_dist.analysis.intervals import columns, shown
from gensr_dist.analysis.soft_filter.faithfulness import Faithfulness, one_history
from gensr_dist.analysis.soft_filter.lifts import Entries, entropy, kinds_of, lift, mean, ratios
from gensr_dist.analysis.soft_filter.weights import CF, TEXT, Weights, left_out, weights_of
from gensr_dist.analysis.subject import Subject
from gensr_dist.data.events import BOTH_BITS, Behaviour
from gensr_dist.data.spaced import thinned
from gensr_dist.data.timelines.rows import EvalRows
from gensr_dist.errors import InputError
from gensr_dist.evaluation.metrics import TASK_NAMES, Estimate
from gensr_dist.pages.charts import BarChart, LineChart, Series
from gensr_dist.pages.table import Table
from gensr_dist.retrieval.channels.stage import ChannelArrays
from gensr_dist.runs.trained_run import TrainedRun

_NEGATIVES = 4  # of a row, drawn among its frozen ones
_FEWEST = 2  # entries of a history that is looked at
_LEFT_OUT = 200  # rows a task whose entries are left out one by one
_BEHAVIOURS = {
    Behaviour.RECOMMENDATION.bit: "met in recommendations",
    Behaviour.SEARCH.bit: "met in searches",
    BOTH_BITS: "met in both at once",
}
_NEAR, _MET = "near the candidate by text", "met with the candidate by others"
_RELEVANT = {CF: _MET, TEXT: _NEAR}  # what a view should find relevant, if it finds anything
_POSITIVE, _NEGATIVE = "positive", "negatives"


@dataclass(frozen=True, kw_only=True)
class _Task:
    """What was found of one task."""

    name: str
    seen: Weights
    rows: EvalRows
    lifts: Mapping[str, Mapping[str, Estimate]]  # by kind of entries, then by view and candidate
    told: Mapping[str, int]  # rows by kind
    spread: Mapping[str, Estimate]  # entropy by view and candidate; how far weights follow the candidate by view
    faithful: Faithfulness | None


class SoftFilterAnalysis(Analysis):
    """Recomputes weights of held-out rows."""

    name = "filter"
    title = "The soft filter"
    summary = "what the soft filters attend to: recency, likeness, co-visitation, behaviour; and does the answer follow"
    needs = ("prepare", "lightgcn", "channels", "train")

    def find(self, subject: Subject) -> Finding:
        """Weights of positives and of some negatives; of fewer rows, answers without each entry."""
        trained = subject.trained
        if not trained.model.shape.model.soft_filter:
            remedy = "analyse a run that was trained with model.soft_filter=true"
            raise InputError(subject.run.root, "model.soft_filter is false: every entry weighs the same", remedy)
        channels = ChannelArrays.open(subject.run.channels, trained.store.items)
        lists = {_NEAR: channels.text_II, _MET: channels.covisited_II}
        problems: list[str] = []
        tasks = [
            found
            for task, rows in subject.rows.items()
            if (found := _task(trained, TASK_NAMES[task], rows, lists, problems)) is not None
        ]
        if not tasks:
            problem = f"no test row has a history of {_FEWEST} entries and weights that are numbers"
            raise InputError(subject.run.root, problem, "analyse a run of a log with longer histories, or train again")
        return Finding(
            name=self.name,
            title=self.title,
            protocol=_protocol(subject),
            numbers={task.name: _numbers(task) for task in tasks},
            tables=tuple(table for task in tasks for table in _tables(trained, task)),
            charts=tuple(chart for task in tasks for chart in (_recency_chart(task), _lift_chart(task))),
            claims=tuple(claim for task in tasks for claim in _claims(task)),
            problems=tuple(problems),
            summary=tuple(line for task in tasks for line in _lines(task)),
        )


def _task(
    trained: TrainedRun, name: str, rows: EvalRows, lists: Mapping[str, csr_array], problems: list[str]
) -> _Task | None:
    item_RL, _ = trained.store.gather_histories(rows.user_R, rows.history_end_R, trained.collator.history)
    rows = _fewer_negatives(rows.take(np.flatnonzero((item_RL >= 0).sum(axis=1) >= _FEWEST)))
    if not len(rows):
        problems.append(f"{name}: no test row has a history of {_FEWEST} entries")
        return None
    seen = weights_of(trained, rows)
    broken = [view for view, weight_RCL in seen.weights.items() if not np.isfinite(weight_RCL).all()]
    problems += [f"{name}: weights of the {view} view are not numbers" for view in broken]
    seen = dataclasses.replace(seen, weights={k: v for k, v in seen.weights.items() if k not in broken})
    if not seen.weights:
        return None
    kinds = kinds_of(rows, seen.item_RL, seen.behaviour_RL, lists, _BEHAVIOURS)
    lifts, told = _lifts(seen, rows, kinds)
    few = thinned(len(rows), _LEFT_OUT)
    changes = left_out(trained, rows.take(few))
    faithful = None
    if np.isfinite(changes.change_RL).all() and np.isfinite(changes.filtered_RL).all():
        faithful = Faithfulness.of(seen.take(few), changes, rows.user_R[few])
    else:
        problems.append(f"{name}: log-odds of shorter histories are not numbers")
    return _Task(name=name, seen=seen, rows=rows, lifts=lifts, told=told, spread=_spread(seen, rows), faithful=faithful)


def _fewer_negatives(rows: EvalRows) -> EvalRows:
    """The positive and some negatives, drawn: their order in the shards may mean something."""
    count = rows.candidate_RC.shape[1] - 1
    drawn = 1 + np.random.default_rng(0).permutation(count)[:_NEGATIVES]
    return dataclasses.replace(rows, candidate_RC=rows.candidate_RC[:, np.append(0, drawn)])


def _sides(weight_RCL: NDArray[Any]) -> dict[str, slice]:
    sides = {_POSITIVE: slice(0, 1), _NEGATIVE: slice(1, None)}
    return sides if weight_RCL.shape[1] > 1 else {_POSITIVE: sides[_POSITIVE]}


def _lifts(
    seen: Weights, rows: EvalRows, kinds: Sequence[Entries]
) -> tuple[dict[str, dict[str, Estimate]], dict[str, int]]:
    lifts: dict[str, dict[str, Estimate]] = {}
    told: dict[str, int] = {}
    for kind in kinds:
        for view, weight_RCL in seen.weights.items():
            for side, part in _sides(weight_RCL).items():
                found = lift(weight_RCL[:, part], kind.of_RCL[:, part], seen.item_RL >= 0, rows.user_R)
                if found is not None:
                    lifts.setdefault(kind.name, {})[f"{view}, {side}"] = found[0]
                    if side == _POSITIVE:
                        told[kind.name] = found[1]
    return lifts, told


def _spread(seen: Weights, rows: EvalRows) -> dict[str, Estimate]:
    """How evenly weights lie, and by how much those of a negative differ from the positive's."""
    found: dict[str, Estimate | None] = {}
    for view, weight_RCL in seen.weights.items():
        even_RC = entropy(weight_RCL, seen.length_R)
        for side, part in _sides(weight_RCL).items():
            found[f"entropy, {view}, {side}"] = mean(even_RC[:, part].mean(axis=1), rows.user_R)
        if weight_RCL.shape[1] > 1:
            apart_RC = np.abs(weight_RCL[:, 1:] - weight_RCL[:, :1]).sum(axis=2) / 2
            found[f"moved by the candidate, {view}"] = mean(apart_RC.mean(axis=1), rows.user_R)
    return {name: estimate for name, estimate in found.items() if estimate is not None}


def _protocol(subject: Subject) -> tuple[str, ...]:
    return (
        f"Weights of eq. 5, the mean over heads, of up to {subject.config.analysis.rows:,} test rows a task whose "
        f"history has {_FEWEST} entries or more: for the positive, and for {_NEGATIVES} of its frozen negatives. "
        "Intervals are 95% of a bootstrap over users.",
        "Lift: the weight of entries of a kind over their uniform share, both summed over rows whose history has "
        "entries of this kind and others; 1 is no preference. Kinds are looked at one at a time: one that goes with "
        "another (co-visited entries are newer, say) shares its lift.",
        "Shards hold no categories of items, only texts, of which a category may be a part: near by text are the "
        "100 items whose texts are closest to the candidate's by TF-IDF. Met by others: the 100 that training users "
        "met within 20 interactions of it, the run's list of co-visitation.",
        f"Left out: {_LEFT_OUT} rows a task are scored again without each entry, for the positive. The change is the "
        "log-odds of Yes with the whole history minus those without the entry. The whole model reads the shorter "
        "history (encoders, towers, history match); 'filters alone' hides the entry from the soft filters only.",
    )


def _numbers(task: _Task) -> dict[str, Any]:
    return {
        "rows": len(task.rows),
        "lift": {kind: dict(found) for kind, found in task.lifts.items()},
        "rows_of_lift": dict(task.told),
        "spread": dict(task.spread),
        **({"faithfulness": task.faithful.numbers()} if task.faithful else {}),
    }


def _tables(trained: TrainedRun, task: _Task) -> tuple[Table, ...]:
    columns = list(next(iter(task.lifts.values()), {}))
    lifts = Table(
        title=f"{task.name}: lift over the uniform share",
        note="Kinds of which no row has both some and others are left out.",
        heads=("entries", *columns, "rows"),
        rows=tuple(
            (
                kind,
                *(shown(found[column]) if column in found else "" for column in columns),
                f"{task.told.get(kind, 0):,}",
            )
            for kind, found in task.lifts.items()
        ),
    )
    spread = Table(
        title=f"{task.name}: how weights lie",
        note="Entropy: 1 where all entries weigh alike, 0 where one has all. Moved by the candidate: share of the "
        "weight that lies elsewhere for a negative than for the positive.",
        heads=("", ""),
        rows=tuple((name, shown(estimate)) for name, estimate in task.spread.items()),
    )
    faithful = (task.faithful.table(task.name),) if task.faithful else ()
    return (lifts, spread, *faithful, one_history(trained, task.name, task.seen, task.rows))


def _claims(task: _Task) -> list[Claim]:
    """Section 4.1.2: the soft filter prioritises what is relevant. Of each view, what is near in that view."""
    claims = []
    for view in task.seen.weights:
        found = task.lifts.get(_RELEVANT[view], {}).get(f"{view}, {_POSITIVE}")
        if found is None or found.interval is None:
            continue
        low, high = found.interval
        claims.append(
            Claim(
                statement=f"{task.name}: the soft filter of the {view} view prioritises entries {_RELEVANT[view]}",
                holds="yes" if low > 1 else "no" if high <= 1 else "undecided",
                measured=f"lift {shown(found)}",
            )
        )
    return claims


def _recency_chart(task: _Task) -> LineChart:
    """Weight for the positive by place, beside the uniform share."""
    seen = task.seen
    at = np.arange(int(seen.length_R.max()))
    has_RA = seen.length_R[:, None] > at
    place_RA = np.where(has_RA, seen.length_R[:, None] - 1 - at, 0)
    lines = {
        view: np.where(has_RA, np.take_along_axis(weight_RCL[:, 0], place_RA, axis=1), 0)
        for view, weight_RCL in seen.weights.items()
    }
    lines["uniform share"] = has_RA / seen.length_R[:, None]
    return LineChart(
        name=f"{task.name}-recency",
        title=f"{task.name}: weight by recency",
        alt="Mean weight of the entry so many interactions before the newest, of both views, and its uniform share.",
        x="interactions before the newest",
        y="mean weight",
        series=tuple(
            _line(label, ratios(value_RA, has_RA.astype(float), task.rows.user_R)) for label, value_RA in lines.items()
        ),
    )


def _lift_chart(task: _Task) -> BarChart:
    views = [f"{view}, {_POSITIVE}" for view in task.seen.weights]
    kinds = [kind for kind, found in task.lifts.items() if all(view in found for view in views)]
    return BarChart(
        name=f"{task.name}-lift",
        title=f"{task.name}: weight over the uniform share",
        alt="Lift of the weight of each kind of entries for the positive, of both views; 1 is no preference.",
        x="lift",
        groups=tuple(kinds),
        series=tuple(_line(view, [task.lifts[kind][view] for kind in kinds]) for view in views),
    )


def _line(label: str, estimates: Sequence[Estimate]) -> Series:
    return Series(label=label, x=tuple(map(float, range(len(estimates)))), **columns(estimates))


def _lines(task: _Task) -> tuple[str, ...]:
    lifts = [
        f"{kind} {found[key].value:.2f}"
        for kind, found in task.lifts.items()
        for key in [f"{view}, {_POSITIVE}" for view in task.seen.weights][:1]
        if key in found
    ]
    view = next(iter(task.seen.weights))
    lines = [f"{task.name}, {len(task.rows):,} rows: lift of the {view} view for the positive: {', '.join(lifts)}"]
    return (*lines, *((task.faithful.line(task.name),) if task.faithful else ()))
