"""The results of an evaluation, and `metrics.json`, which tells programs of them."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gensr_dist.data.events import Behaviour
from gensr_dist.evaluation.calibration import Calibration
from gensr_dist.evaluation.catalogue_metrics import ANSWERS, CatalogueMetrics
from gensr_dist.evaluation.fit import FitRecord, fit_warnings
from gensr_dist.evaluation.metrics import (
    TASK_NAMES,
    CandidateMetrics,
    TaskMetrics,
)
from gensr_dist.evaluation.significance import PairedTest
from gensr_dist.evaluation.strata import TaskStrata, strata_json

GENSR = "gensr"
TITLES = {GENSR: "GenSR", "popularity": "Popularity", "counting": "Counting", "lightgcn": "LightGCN", "bm25": "BM25"}


@dataclass(frozen=True, kw_only=True)
class EvaluationProtocol:
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
    protocol: EvaluationProtocol
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
