"""Tables of an evaluation, the same in its Markdown, on its page and on a terminal; and how its numbers were made."""

from collections.abc import Iterator, Mapping, Sequence

from gensr_dist.data.events import Behaviour
from gensr_dist.evaluation.catalogue_metrics import ANSWERS, ORDERS, CatalogueMetrics
from gensr_dist.evaluation.fit import NDCG, StepFit
from gensr_dist.evaluation.metrics import (
    CANDIDATE_CUTOFFS,
    CUTOFF,
    CUTOFFS,
    TASK_NAMES,
    TASK_TITLES,
    CandidateMetrics,
    Estimate,
    short_name,
)
from gensr_dist.evaluation.report import TITLES, EvaluationProtocol, EvaluationResult
from gensr_dist.evaluation.strata import Stratum
from gensr_dist.pages.table import Table

_MEASURED = (*(f"recall@{k}" for k in CUTOFFS), *(f"ndcg@{k}" for k in CUTOFFS[1:]))  # NDCG@1 is Recall@1
_ALL = (*_MEASURED, "mrr")


def results_table(result: EvaluationResult, task: Behaviour) -> Table:
    """A row a scorer that takes part in the task; without resamples no intervals and no tests."""
    tested = result.protocol.bootstrap > 0
    return Table(
        title="Metrics",
        heads=("", *map(short_name, _ALL), *([f"GenSR's lead in N@{CUTOFF}"] if tested else [])),
        rows=tuple(
            (
                TITLES[scorer.scorer],
                *_cells(scorer.tasks[task].named(), _ALL),
                *([str(scorer.behind.get(task, ""))] if tested else []),
            )
            for scorer in result.scorers
            if task in scorer.tasks
        ),
    )


def catalogue_table(metrics: CatalogueMetrics) -> Table:
    """Of one task: the answers, then other orders; below it who found the hits."""
    found = ", ".join(
        f"{name} {hits.proposed:.0%} (alone {hits.alone:.0%})" for name, hits in metrics.hits.items() if hits.proposed
    )
    return Table(
        title=f"{TASK_TITLES[metrics.task]}: {metrics.orders[ANSWERS].count:,} rows",
        note=f"{metrics.candidates:,} candidates a row hold {metrics.candidate_recall:.1%} of the positives. Of those "
        f"among the first {CUTOFF} answers these channels proposed: {found or 'none'}.",
        heads=("Order", *map(short_name, _MEASURED), f"Answers' lead in N@{CUTOFF}"),
        rows=tuple(
            (ORDERS[name], *_cells(order.named(), _MEASURED), str(metrics.leads.get(name, "")))
            for name, order in metrics.orders.items()
        ),
    )


def candidates_table(candidates: Sequence[CandidateMetrics]) -> Table:
    """Of each task the fusion, then every channel."""
    return Table(
        title="Candidates",
        heads=("Task", "Channel", *(f"R@{k}" for k in CANDIDATE_CUTOFFS), "Rows"),
        rows=tuple(
            (TASK_TITLES[metrics.task], name, *(f"{recall[k]:.4f}" for k in CANDIDATE_CUTOFFS), f"{metrics.count:,}")
            for metrics in candidates
            for name, recall in {"fusion": metrics.recall, "union": metrics.union, **metrics.channels}.items()
        ),
    )


def strata_table(strata: Sequence[Stratum]) -> Table:
    """A row a stratum: N@10 and R@10 of every scorer."""
    scorers = list(strata[0].ndcg)
    return Table(
        title="Strata",
        heads=("", "Rows", *(f"{TITLES[scorer]} {metric}@{CUTOFF}" for scorer in scorers for metric in ("N", "R"))),
        rows=tuple(
            (
                stratum.label,
                f"{stratum.count:,}",
                *(f"{of[scorer]:.4f}" for scorer in scorers for of in (stratum.ndcg, stratum.recall)),
            )
            for stratum in strata
        ),
    )


def fit_table(step: StepFit) -> Table:
    """Training rows beside validation rows of each task."""
    names = (*_ALL, "loss")
    return Table(
        title="Training rows beside validation rows",
        note=f"Ranked during training, with the weights of step {step.step}, which the model has.",
        heads=("Task", "Rows", *map(short_name, _ALL), "Loss", "Count"),
        rows=tuple(
            (TASK_TITLES[task], kind, *(f"{rows.values()[key]:.4f}" for key in names), f"{rows.count:,}")
            for task, name in TASK_NAMES.items()
            if (fit := step.tasks.get(name)) is not None
            for kind, rows in (("training", fit.training), ("validation", fit.validation))
            if rows is not None
        ),
    )


def protocol_lines(protocol: EvaluationProtocol) -> Iterator[str]:
    """How the numbers were made."""
    available = protocol.rows_available
    drawn = ", ".join(
        f"{protocol.rows[name]:,} of {available[name]:,} {name}" if name in available else f"no {name}"
        for name in TASK_NAMES.values()
    )
    yield f"Rows: {drawn} ({protocol.split} split by {protocol.split_method!r}), drawn with seed {protocol.seed}."
    yield (
        f"Each row ranks its positive among {protocol.negatives} sampled items that its user never met (seed "
        f"{protocol.negatives_seed}, frozen in the shards); the whole-catalogue table ranks it among all items."
    )
    yield f"Ties are {protocol.ties}."
    if protocol.bootstrap:
        resamples = f"{protocol.bootstrap:,} bootstrap resamples of the users"
        yield f"Brackets: {protocol.confidence:.0%} intervals from {resamples}."
        yield f"p: two-sided sign-flip test of users on NDCG@{CUTOFF}, GenSR against the baseline on the same rows."


def with_interval(estimate: Estimate) -> str:
    """`0.1234 [0.1200, 0.1270]`; without an interval where nothing was resampled."""
    interval = estimate.interval
    return f"{estimate.value:.4f}" + (f" [{interval[0]:.4f}, {interval[1]:.4f}]" if interval else "")


def _cells(found: Mapping[str, Estimate], names: Sequence[str]) -> list[str]:
    return [with_interval(found[name]) if name == NDCG else f"{found[name].value:.4f}" for name in names]
