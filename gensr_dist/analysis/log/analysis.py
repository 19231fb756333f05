"""`gensr analyse data`: what the log is like before anyone trains on it.

Dimensions: I items, R rows, X any values.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from gensr_dist.analysis.contract import Analysis
from gensr_dist.analysis.finding import Finding
from gensr_dist.analysis.intervals import shown
from gensr_dist.analysis.log.brief import LogBrief, head_share
from gensr_dist.analysis.log.charts import length_chart, tail_chart
from gensr_dist.analysis.log.counts import RARE, LogCounts, count_log
from gensr_dist.analysis.log.queries import QueryProbe
from gensr_dist.analysis.subject import Subject
from gensr_dist.baselines.untrained.counting import Counting
from gensr_dist.baselines.untrained.popularity import Popularity
from gensr_dist.data.events import Behaviour
from gensr_dist.data.items import ItemStore
from gensr_dist.data.shards.store import TimelineStore
from gensr_dist.data.timelines.rows import EvalRows
from gensr_dist.evaluation.metrics import CUTOFF, TASK_NAMES, TaskMetrics
from gensr_dist.evaluation.protocol import Scorer, rank_positives
from gensr_dist.pages.table import Table

_RESAMPLES = 1_000
_ROWS_A_CALL = 4_096
_ANSWERED = 0.9  # NDCG@10 of counting from which a model has little left to do

Metrics = Mapping[str, Mapping[Behaviour, TaskMetrics]]


class LogAnalysis(Analysis):
    """Reads shards alone."""

    name = "data"
    title = "The log"
    summary = (
        "the log before any training: lengths, popularity, repeats, cold items, ties, leaks, what counting answers"
    )
    needs = ("prepare",)
    form = 2  # intervals over users

    def find(self, subject: Subject) -> Finding:
        """Count everything once; ask queries and counting of some test rows."""
        data = subject.config.data
        store = TimelineStore.open(subject.run.shards, shuffle_shards=data.shuffle_shards, on_corrupt=data.on_corrupt)
        items = ItemStore.open(subject.run.shards)
        counts = count_log(store.windows(), items.popularity_I)
        rows = subject.rows_of(store)
        searches = rows.get(Behaviour.SEARCH)
        queries = QueryProbe.of(searches, items) if searches is not None else None
        brief = LogBrief.of(counts, queries, items.popularity_I)
        answered = counting_metrics(store, items, rows)
        warnings = (*brief.warnings, *_too_easy(answered["counting"]))
        return Finding(
            name=self.name,
            title=self.title,
            protocol=(
                "An interaction is a positive event; two of one user, item and moment, one of each task, count once. A "
                "history ends before its row's moment: neither a twin nor anything of the same moment is in it.",
                f"Lengths, popularity, repeats and ties are of the whole log. Words of queries and counting are of up "
                f"to {subject.config.analysis.rows:,} test rows of a task, each positive among its frozen negatives; "
                "intervals are 95% of a bootstrap over users. Words are lower-cased runs of letters and digits.",
                *(f"Warning: {warning}." for warning in warnings),
            ),
            numbers=_numbers(counts, queries, items.popularity_I, answered, warnings),
            tables=(
                _log_table(counts),
                _task_table(counts),
                _agreement_table(counts, items.popularity_I),
                *([_query_table(queries)] if queries else []),
                _counting_table(answered),
            ),
            charts=(length_chart(counts), tail_chart(items.popularity_I)),
            problems=() if rows else ("what counting answers: there is no test row of either task",),
            summary=(*brief.lines, *_counting_lines(answered), *(f"warning: {warning}" for warning in warnings)),
        )


def counting_metrics(store: TimelineStore, items: ItemStore, rows: Mapping[Behaviour, EvalRows]) -> Metrics:
    """How popularity and counting rank the positives of rows, by name and task."""
    scorers: dict[str, Scorer] = {
        "popularity": Popularity(items.popularity_I),
        "counting": Counting.of_log(store, items),
    }
    return {
        name: {
            task: TaskMetrics.from_ranks(
                rank_positives(scorer, own, _ROWS_A_CALL), own.user_R, resamples=_RESAMPLES, seed=0
            )
            for task, own in rows.items()
        }
        for name, scorer in scorers.items()
    }


def gini(count_I: NDArray[np.integer]) -> float | None:
    """0 where all items are chosen alike, towards 1 where one has all choices; None without a choice."""
    sorted_I = np.sort(count_I.astype(np.float64))
    total, items = sorted_I.sum(), len(sorted_I)
    if not total:
        return None
    return float(2 * (np.arange(1, items + 1) @ sorted_I) / (items * total) - (items + 1) / items)


def agreement(counts: LogCounts) -> dict[str, float | None]:
    """How far the items of both tasks' training events are the same; None where there is nothing to compare."""
    rec_I, search_I = (counts.tasks[task].training_I for task in (Behaviour.RECOMMENDATION, Behaviour.SEARCH))
    both_I = (rec_I > 0) & (search_I > 0)
    chosen_I = (rec_I > 0) | (search_I > 0)
    varies = both_I.any() and min(np.ptp(rec_I[chosen_I]), np.ptp(search_I[chosen_I])) > 0
    return {
        "items_of_both": _ratio(int(both_I.sum()), int(chosen_I.sum())),
        "rec_choices_of_searched_items": _ratio(int(rec_I[search_I > 0].sum()), int(rec_I.sum())),
        "search_choices_of_recommended_items": _ratio(int(search_I[rec_I > 0].sum()), int(search_I.sum())),
        "popularity_correlation": float(spearmanr(rec_I[chosen_I], search_I[chosen_I]).statistic) if varies else None,
    }


def _numbers(
    counts: LogCounts,
    queries: QueryProbe | None,
    popularity_I: NDArray[np.integer],
    answered: Metrics,
    warnings: tuple[str, ...],
) -> dict[str, Any]:
    return {
        "users": counts.users,
        "events": counts.events,
        "interactions": counts.interactions,
        "repeats": _ratio(counts.repeats, counts.interactions),
        "tied": _ratio(counts.tied, counts.interactions),
        "twins": _ratio(counts.twins, counts.interactions),
        "gini": gini(popularity_I),
        "untrained_items": float((popularity_I == 0).mean()),
        "tasks": {
            TASK_NAMES[task]: {
                "positives": found.positives,
                "test": found.test,
                "cold": _ratio(found.cold, found.test),
                "rare": _ratio(found.rare, found.test),
                "in_history": _ratio(found.met, found.test),
                "in_history_of_training_rows": _ratio(found.trained_met, found.trained),
                "tied": _ratio(found.tied, found.test),
                "without_history": _ratio(found.empty, found.test),
            }
            for task, found in counts.tasks.items()
        },
        "agreement": agreement(counts),
        "queries": queries,
        f"ndcg@{CUTOFF}": {
            name: {TASK_NAMES[task]: metrics.ndcg[CUTOFF] for task, metrics in by_task.items()}
            for name, by_task in answered.items()
        },
        "warnings": list(warnings),
    }


def _log_table(counts: LogCounts) -> Table:
    quantiles = np.quantile(counts.lengths, [0, 0.1, 0.5, 0.9, 1]) if counts.users else np.zeros(5)
    least, low, middle, high, most = (f"{value:,.0f}" for value in quantiles)
    return Table(
        title="The whole log",
        heads=("", ""),
        rows=(
            ("Users with an event", f"{counts.users:,}"),
            ("Events, clicked or not", f"{counts.events:,}"),
            ("Interactions", f"{counts.interactions:,}"),
            ("Interactions of a user: least, 10%, median, 90%, most", f"{least}, {low}, {middle}, {high}, {most}"),
            ("Interactions with an item that the user had met", _percent(counts.repeats, counts.interactions)),
            ("Interactions at a moment of several", _percent(counts.tied, counts.interactions)),
            ("Interactions of both tasks at once (twins)", _percent(counts.twins, counts.interactions)),
        ),
    )


def _task_table(counts: LogCounts) -> Table:
    tasks = [counts.tasks[task] for task in TASK_NAMES]
    middles = [np.concatenate([*found.history_R, np.empty(0, np.int64)]) for found in tasks]
    return Table(
        title="Rows of each task",
        note="A target in its own history, or a moment of several, tells what sampled negatives cannot have.",
        heads=("", *TASK_NAMES.values()),
        rows=(
            ("Positive events", *(f"{found.positives:,}" for found in tasks)),
            ("Users with one", *(f"{found.users:,}" for found in tasks)),
            ("Test rows", *(f"{found.test:,}" for found in tasks)),
            (
                "Median history of a test row",
                *(f"{np.median(before_R):,.0f}" if len(before_R) else "" for before_R in middles),
            ),
            ("Test rows without a history", *(_percent(found.empty, found.test) for found in tasks)),
            ("Test items without a training event (cold)", *(_percent(found.cold, found.test) for found in tasks)),
            (f"Test items with 1 to {RARE}", *(_percent(found.rare, found.test) for found in tasks)),
            ("Test items in their own history", *(_percent(found.met, found.test) for found in tasks)),
            ("Training items in their own history", *(_percent(found.trained_met, found.trained) for found in tasks)),
            ("Test rows at a moment of several choices", *(_percent(found.tied, found.test) for found in tasks)),
        ),
    )


def _agreement_table(counts: LogCounts, popularity_I: NDArray[np.integer]) -> Table:
    found = agreement(counts)
    return Table(
        title="Items",
        note="Of training choices; the rank correlation is over items that either task chose.",
        heads=("", ""),
        rows=(
            ("Items", f"{len(popularity_I):,}"),
            ("Without a training choice", _percent(int((popularity_I == 0).sum()), len(popularity_I))),
            *(
                (f"Choices of the most popular {share:.0%}", f"{head_share(popularity_I, share):.1%}")
                for share in (0.01, 0.1, 0.5)
            ),
            ("Gini coefficient of popularity", _number(gini(popularity_I), ".3f")),
            ("Items chosen in both tasks, of those in either", _number(found["items_of_both"], ".1%")),
            (
                "Recommendation's choices of items that searches found",
                _number(found["rec_choices_of_searched_items"], ".1%"),
            ),
            (
                "Search's choices of items that were recommended",
                _number(found["search_choices_of_recommended_items"], ".1%"),
            ),
            ("Rank correlation of popularity in both", _number(found["popularity_correlation"], ".3f")),
        ),
    )


def _query_table(queries: QueryProbe) -> Table:
    others = f"Target alone among its {queries.candidates} candidates has all words of the query"
    return Table(
        title="Queries",
        note=f"Of {queries.rows:,} test searches with a query.",
        heads=("", "Share"),
        rows=(
            ("Query has all words of the target's text: it names it", f"{queries.names:.1%}"),
            ("Target's text has all words of the query", f"{queries.fits:.1%}"),
            ("A negative's text does", f"{queries.negatives_fit:.2%}"),
            (others, f"{queries.alone:.1%}"),
        ),
    )


def _counting_table(answered: Metrics) -> Table:
    tasks = list(next(iter(answered.values())))
    return Table(
        title="What counting alone answers",
        note="No model: popularity, and co-visitation with words and earlier searches, among the frozen negatives.",
        heads=("", *(f"{TASK_NAMES[task]} N@{CUTOFF}" for task in tasks)),
        rows=tuple(
            (name.capitalize(), *(shown(by_task[task].ndcg[CUTOFF], 4) for task in tasks))
            for name, by_task in answered.items()
        ),
    )


def _counting_lines(answered: Metrics) -> tuple[str, ...]:
    parts = [
        f"{TASK_NAMES[task]} {metrics.ndcg[CUTOFF].value:.4f} "
        f"(popularity {answered['popularity'][task].ndcg[CUTOFF].value:.4f})"
        for task, metrics in answered["counting"].items()
    ]
    return (f"counting alone, ndcg@{CUTOFF}: {', '.join(parts)}",) if parts else ()


def _too_easy(counting: Mapping[Behaviour, TaskMetrics]) -> tuple[str, ...]:
    return tuple(
        f"counting alone answers {TASK_NAMES[task]} with N@{CUTOFF} {metrics.ndcg[CUTOFF].value:.2f}: no model can "
        "do much better here; judge over the whole catalogue"
        for task, metrics in counting.items()
        if metrics.ndcg[CUTOFF].value >= _ANSWERED
    )


def _number(value: float | None, form: str) -> str:
    return "none" if value is None else format(value, form)


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _percent(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else ""
