"""The results of an evaluation, as metrics.json for programs and report.md for people."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gensr_dist.data.events import Behaviour
from gensr_dist.evaluation.calibration import Calibration
from gensr_dist.evaluation.catalogue_metrics import ANSWERS, ORDERS, CatalogueMetrics
from gensr_dist.evaluation.fit import NDCG, FitRecord, StepFit, fit_warnings
from gensr_dist.evaluation.metrics import (
    CANDIDATE_CUTOFFS,
    CUTOFFS,
    TASK_NAMES,
    CandidateMetrics,
    Estimate,
    TaskMetrics,
)
from gensr_dist.evaluation.significance import CUTOFF, PairedTest
from gensr_dist.evaluation.strata import Stratum, TaskStrata, strata_json
from gensr_dist.runs.folder import RunFolder
from gensr_dist.storage.durable import durable_file
from gensr_dist.storage.records import write_json

GENSR = "gensr"
TITLES = {GENSR: "GenSR", "popularity": "Popularity", "counting": "Counting", "lightgcn": "LightGCN", "bm25": "BM25"}
TASK_TITLES = {Behaviour.RECOMMENDATION: "Recommendation", Behaviour.SEARCH: "Search"}


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """How the numbers were made: two evaluations compare only where this is equal."""

    split: str
    split_method: str  # data.split of the shards
    cutoffs: tuple[int, ...]  # K of Recall@K and NDCG@K
    negatives: int  # sampled ones a row that the user never met, frozen in the shards
    negatives_seed: int  # of the shards
    ties: str
    seed: int  # draws rows and resamples
    rows: Mapping[str, int]  # by task
    rows_available: Mapping[str, int]  # by task; more than `rows` where evaluation.rows drew some
    bootstrap: int  # resamples
    confidence: float
    rows_digest: str  # SHA-256 of the ranked rows and their candidates


@dataclass(frozen=True, kw_only=True)
class ScorerResult:
    """One scorer's metrics on the tasks that it takes part in."""

    scorer: str  # key of TITLES
    tasks: Mapping[Behaviour, TaskMetrics]
    behind: Mapping[Behaviour, PairedTest]  # GenSR minus this scorer, same rows; empty for GenSR


@dataclass(frozen=True, kw_only=True)
class EvaluationResult:
    """Everything one `gensr evaluate` found out."""

    scorers: Sequence[ScorerResult]  # GenSR first
    protocol: Protocol
    reach: Mapping[Behaviour, Mapping[str, tuple[float, ...]]] = field(default_factory=dict)  # `reach_of`, by scorer
    # A budget of candidates a pass changes the last bits of probabilities.
    calibration: Mapping[Behaviour, Calibration] = field(default_factory=dict, compare=False)  # of GenSR
    strata: Mapping[Behaviour, TaskStrata] = field(default_factory=dict)
    catalogue: Sequence[CatalogueMetrics] = ()
    candidates: Sequence[CandidateMetrics] = ()
    fit: FitRecord | None = None  # None where the training did not record it

    @property
    def gensr(self) -> Mapping[Behaviour, TaskMetrics]:
        """GenSR's own metrics, by task."""
        return self.scorers[0].tasks


def write_report(run: RunFolder, result: EvaluationResult) -> None:
    """Write `metrics.json` and `report.md` of a run, each atomically."""
    write_json(run.metrics, metrics_json(result))
    with durable_file(run.report) as temporary:
        temporary.write_text(report_markdown(result), encoding="utf-8")


def metrics_json(result: EvaluationResult) -> dict[str, Any]:
    """The content of `metrics.json`: `rec` and `search` are GenSR's, `baselines` holds the others'."""
    gensr, *baselines = result.scorers
    return {
        **_tasks_json(gensr),
        "baselines": {
            baseline.scorer: {
                **_tasks_json(baseline),
                **({"catalogue": over_all} if (over_all := _catalogue_json(result.catalogue, baseline.scorer)) else {}),
            }
            for baseline in baselines
        },
        "significance": {
            f"{GENSR}_vs_{baseline.scorer}": {
                TASK_NAMES[task]: dataclasses.asdict(test) for task, test in baseline.behind.items()
            }
            for baseline in baselines
        },
        "strata": {TASK_NAMES[task]: strata_json(strata) for task, strata in result.strata.items()},
        "calibration": {TASK_NAMES[task]: dataclasses.asdict(found) for task, found in result.calibration.items()},
        "catalogue": _catalogue_json(result.catalogue, ANSWERS),
        "candidates": {TASK_NAMES[metrics.task]: _candidates_json(metrics) for metrics in result.candidates},
        **({"fit": _fit_json(result.fit)} if result.fit else {}),
        "protocol": dataclasses.asdict(result.protocol),
    }


def result_lines(result: EvaluationResult) -> tuple[str, ...]:
    """What counts most, then tables for a terminal. Warnings stand in the report; training has told them."""
    best = (f"{TASK_NAMES[task]} {metrics.named()[NDCG].value:.4f}" for task, metrics in result.gensr.items())
    lines = [f"{NDCG} of GenSR: {', '.join(best)}"]
    for task, title in TASK_TITLES.items():
        if task in result.gensr:
            count, negatives = result.gensr[task].count, result.protocol.negatives
            lines += [f"{title}, {count:,} rows, 1 positive and {negatives} negatives"]
            lines += [*_aligned(results_table(result, task)), ""]
        else:
            lines += [f"{title}: no {result.protocol.split} row", ""]
    return tuple(lines)


def _aligned(table: list[str]) -> list[str]:
    """A Markdown table as columns for a terminal."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table if not line.startswith("| ---")]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def report_markdown(result: EvaluationResult) -> str:
    """The content of `report.md`."""
    protocol = result.protocol
    lines = ["# Evaluation", ""]
    for task, title in TASK_TITLES.items():
        if task in result.gensr:
            lines += [f"## {title}: {result.gensr[task].count:,} {protocol.split} rows", ""]
            lines += [*results_table(result, task), ""]
        if strata := result.strata.get(task):
            lines += ["By users who chose the positive in training:", "", *_strata_table(strata.popularity), ""]
            lines += ["By interactions before the row:", "", *_strata_table(strata.history), ""]
    if result.catalogue:
        lines += ["## Whole catalogue", ""]
        for metrics in result.catalogue:
            count = metrics.orders[ANSWERS].count
            lines += [f"### {TASK_TITLES[metrics.task]}: {count:,} rows", "", *_catalogue_lines(metrics), ""]
    if result.candidates:
        lines += ["## Candidates", "", "Share of rows whose positive is among the first candidates, unseen items only:"]
        lines += ["", *_candidates_table(result.candidates), ""]
    if result.fit and result.fit.best:
        lines += ["## Training rows beside validation rows", ""]
        lines += [f"Ranked during training, with the weights of step {result.fit.best.step}, which the model has.", ""]
        lines += [*_fit_table(result.fit.best), ""]
        for warning in fit_warnings(result.fit):
            lines += [f"Warning: {warning}.", ""]
    available = protocol.rows_available
    drawn = ", ".join(
        f"{protocol.rows[name]:,} of {available[name]:,} {name}" if name in available else f"no {name}"
        for name in TASK_NAMES.values()
    )
    lines += [
        "## Protocol",
        "",
        f"- Rows: {drawn} ({protocol.split} split by {protocol.split_method!r}), drawn with seed {protocol.seed}.",
        f"- Each row ranks its positive among {protocol.negatives} sampled items that its user never met (seed "
        f"{protocol.negatives_seed}, frozen in the shards); the whole-catalogue table ranks it among all items.",
        f"- Ties are {protocol.ties}.",
    ]
    if protocol.bootstrap:
        lines += [
            f"- Brackets: {protocol.confidence:.0%} intervals from {protocol.bootstrap:,} bootstrap resamples of the "
            "rows.",
            f"- p: two-sided paired sign-flip test on NDCG@{CUTOFF}, GenSR against the baseline on the same rows.",
        ]
    return "\n".join([*lines, ""])


def results_table(result: EvaluationResult, task: Behaviour) -> list[str]:
    """Markdown lines: one row a scorer that takes part in `task`; without resamples no intervals and no tests."""
    heads = [f"R@{cutoff}" for cutoff in CUTOFFS] + [f"N@{cutoff}" for cutoff in CUTOFFS[1:]] + ["MRR"]
    tested = result.protocol.bootstrap > 0
    lines = _head(["", *heads, *([f"GenSR's lead in N@{CUTOFF}"] if tested else [])])
    for scorer in result.scorers:
        if task not in scorer.tasks:
            continue
        metrics = scorer.tasks[task]
        cells = [f"{metrics.recall[cutoff].value:.4f}" for cutoff in CUTOFFS]
        for cutoff in CUTOFFS[1:]:  # NDCG@1 is Recall@1
            estimate = metrics.ndcg[cutoff]
            cells.append(f"{estimate.value:.4f}")
            if cutoff == CUTOFF:
                cells[-1] += _interval(estimate)
        cells.append(f"{metrics.mrr.value:.4f}")
        if tested:
            test = scorer.behind.get(task)
            cells.append(_lead(test) if test else "")
        lines.append(_row([TITLES[scorer.scorer], *cells]))
    return lines


def _interval(estimate: Estimate) -> str:
    return "" if estimate.interval is None else f" [{estimate.interval[0]:.4f}, {estimate.interval[1]:.4f}]"


def _lead(test: PairedTest) -> str:
    return f"{test.difference:+.4f} [{test.low:+.4f}, {test.high:+.4f}], p = {test.p_value:.3g}"


def _strata_table(strata: Sequence[Stratum]) -> list[str]:
    """Markdown lines: one row a stratum, N@10 and R@10 of every scorer."""
    scorers = list(strata[0].ndcg)
    heads = [f"{TITLES[scorer]} {metric}@{CUTOFF}" for scorer in scorers for metric in ("N", "R")]
    lines = _head(["", "Rows", *heads])
    for stratum in strata:
        cells = [f"{value:.4f}" for scorer in scorers for value in (stratum.ndcg[scorer], stratum.recall[scorer])]
        lines.append(_row([stratum.label, f"{stratum.count:,}", *cells]))
    return lines


def _catalogue_lines(metrics: CatalogueMetrics) -> list[str]:
    """Markdown lines of one task: the answers, then other orders, then who found the hits."""
    heads = ["Order", *(f"R@{k}" for k in CUTOFFS), *(f"N@{k}" for k in CUTOFFS[1:]), f"Answers' lead in N@{CUTOFF}"]
    lines = _head(heads)
    for name, order in metrics.orders.items():
        cells = [f"{order.recall[k].value:.4f}" for k in CUTOFFS]
        for cutoff in CUTOFFS[1:]:
            cells.append(f"{order.ndcg[cutoff].value:.4f}")
            if cutoff == CUTOFF:
                cells[-1] += _interval(order.ndcg[cutoff])
        lead = metrics.leads.get(name)
        lines.append(_row([ORDERS[name], *cells, _lead(lead) if lead else ""]))
    found = ", ".join(
        f"{name} {hits.proposed:.0%} (alone {hits.alone:.0%})" for name, hits in metrics.hits.items() if hits.proposed
    )
    return [
        *lines,
        "",
        f"{metrics.candidates:,} candidates a row hold {metrics.candidate_recall:.1%} of the positives. Of those among "
        f"the first {CUTOFF} answers these channels proposed: {found or 'none'}.",
    ]


def _candidates_table(candidates: Sequence[CandidateMetrics]) -> list[str]:
    """Markdown lines: of each task the fusion, then every channel."""
    lines = _head(["Task", "Channel", *(f"R@{k}" for k in CANDIDATE_CUTOFFS), "Rows"])
    for metrics in candidates:
        for name, recall in {"fusion": metrics.recall, "union": metrics.union, **metrics.channels}.items():
            cells = [f"{recall[k]:.4f}" for k in CANDIDATE_CUTOFFS]
            lines.append(_row([TASK_TITLES[metrics.task], name, *cells, f"{metrics.count:,}"]))
    return lines


def _fit_table(step: StepFit) -> list[str]:
    """Markdown lines: two rows a task."""
    heads = ["Task", "Rows", *(f"R@{k}" for k in CUTOFFS), *(f"N@{k}" for k in CUTOFFS[1:]), "MRR", "Loss", "Count"]
    keys = [*(f"recall@{k}" for k in CUTOFFS), *(f"ndcg@{k}" for k in CUTOFFS[1:]), "mrr", "loss"]
    lines = _head(heads)
    for task, title in TASK_TITLES.items():
        if (fit := step.tasks.get(TASK_NAMES[task])) is None:
            continue
        for kind, rows in (("training", fit.training), ("validation", fit.validation)):
            if rows is not None:
                values = rows.values()
                lines.append(_row([title, kind, *(f"{values[key]:.4f}" for key in keys), f"{rows.count:,}"]))
    return lines


def _fit_json(fit: FitRecord) -> dict[str, Any]:
    return {
        "best_step": fit.best.step if fit.best else None,
        "tasks": {
            name: {
                "training": {**task.training.values(), "count": task.training.count} if task.training else None,
                "validation": {**task.validation.values(), "count": task.validation.count},
                "gap": task.gaps(),
            }
            for name, task in (fit.best.tasks if fit.best else {}).items()
        },
        "warnings": list(fit_warnings(fit)),
    }


def _tasks_json(scorer: ScorerResult) -> dict[str, Any]:
    return {TASK_NAMES[task]: _task_json(metrics) for task, metrics in scorer.tasks.items()}


def _task_json(metrics: TaskMetrics) -> dict[str, Any]:
    named = metrics.named()
    intervals = {name: list(estimate.interval) for name, estimate in named.items() if estimate.interval}
    return {
        **{name: estimate.value for name, estimate in named.items()},
        "count": metrics.count,
        **({"intervals": intervals} if intervals else {}),
    }


def _catalogue_json(catalogue: Sequence[CatalogueMetrics], order: str) -> dict[str, Any]:
    """By name of the task, one order's metrics; what only the answers have beside them."""
    values: dict[str, Any] = {}
    for metrics in catalogue:
        if order in metrics.orders:
            values[TASK_NAMES[metrics.task]] = _task_json(metrics.orders[order])
        if order == ANSWERS:
            values[TASK_NAMES[metrics.task]] |= {
                "candidates": metrics.candidates,
                "candidate_recall": metrics.candidate_recall,
                "orders": {name: _task_json(other) for name, other in metrics.orders.items() if name != ANSWERS},
                "leads": {name: dataclasses.asdict(test) for name, test in metrics.leads.items()},
                "hits": {name: dataclasses.asdict(hits) for name, hits in metrics.hits.items()},
            }
    return values


def _candidates_json(metrics: CandidateMetrics) -> dict[str, Any]:
    return {
        **_recall_json(metrics.recall),
        "union": _recall_json(metrics.union),
        "channels": {name: _recall_json(recall) for name, recall in metrics.channels.items()},
        "count": metrics.count,
    }


def _recall_json(recall: Mapping[int, float]) -> dict[str, float]:
    return {f"recall@{cutoff}": value for cutoff, value in recall.items()}


def _head(cells: Sequence[str]) -> list[str]:
    return [_row(cells), _row(["---", *["---:"] * (len(cells) - 1)])]


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
