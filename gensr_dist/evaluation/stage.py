"""The stage `gensr evaluate`: GenSR and the baselines on the test rows of both tasks.

Dimensions: R rows, C candidates, F findings of a row, I items.
"""

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from gensr_dist.data.events import Behaviour
from gensr_dist.data.shards.manifest import Manifest
from gensr_dist.data.shards.store import TimelineStore
from gensr_dist.data.timelines.rows import EvalRows
from gensr_dist.data.timelines.splits import Split
from gensr_dist.errors import InputError
from gensr_dist.evaluation.calibration import Calibration, binned
from gensr_dist.evaluation.catalogue_metrics import CatalogueMetrics
from gensr_dist.evaluation.config import EvaluationConfig
from gensr_dist.evaluation.fit import read_fit
from gensr_dist.evaluation.gensr_scorer import ROWS_A_CALL, GenSRScorer
from gensr_dist.evaluation.markdown import write_report
from gensr_dist.evaluation.metrics import (
    CONFIDENCE,
    CUTOFFS,
    TASK_NAMES,
    CandidateMetrics,
    TaskMetrics,
    reach_of,
)
from gensr_dist.evaluation.page import evaluation_page
from gensr_dist.evaluation.protocol import ComparedScorer, draw_rows, rank_positives, ranks_and_findings
from gensr_dist.evaluation.report import GENSR, TITLES, EvaluationProtocol, EvaluationResult, ScorerResult
from gensr_dist.evaluation.significance import paired_test, save_ranks
from gensr_dist.evaluation.strata import TaskStrata, training_users
from gensr_dist.runs.folder import RunFolder
from gensr_dist.runs.trained_run import TrainedRun


def evaluate(
    trained: TrainedRun,
    config: EvaluationConfig,
    seed: int,
    *,
    training_negatives: int,
    compared: Sequence[ComparedScorer] = (),
    catalogue: Sequence[CatalogueMetrics] = (),
    candidates: Sequence[CandidateMetrics] = (),
) -> EvaluationResult:
    """Rank the test rows of both tasks, and write the run's metrics.json, report.md,
    report.html and ranks/.

    Args:
        trained: the run.
        config: protocol settings.
        seed: of the run; draws rows and resamples.
        training_negatives: of a training group, whose share of positives GenSR has learnt.
        compared: what GenSR is compared with.
        catalogue: whole-catalogue results of the retrieval stage, for the report.
        candidates: recall of its channels, for the report.

    Raises:
        InputError: there is no test row, or the model gives NaN.
    """
    store = trained.store
    rows, protocol = rows_to_rank(store, config, seed)

    gensr = GenSRScorer(trained.model, trained.collator, trained.device, config.prompts)
    answered = {
        task: ranks_and_findings(gensr, task_rows, ROWS_A_CALL, binned, progress=f"{TITLES[GENSR]}, {TASK_NAMES[task]}")
        for task, task_rows in rows.items()
    }
    ranks = {GENSR: {task: rank_R for task, (rank_R, _) in answered.items()}} | {
        other.name: {
            task: rank_positives(
                other.scorer, task_rows, other.rows_a_call, progress=f"{TITLES[other.name]}, {TASK_NAMES[task]}"
            )
            for task, task_rows in rows.items()
            if task in other.tasks
        }
        for other in compared
    }
    training_users_I = training_users(store)
    result = EvaluationResult(
        scorers=[
            _scorer_result(name, by_task, ranks[GENSR], rows, config, seed)
            for name, by_task in ranks.items()
            if by_task
        ],
        protocol=protocol,
        reach={
            task: {name: reach_of(rank_R, protocol.negatives) for name, rank_R in _ranks_of_task(ranks, task).items()}
            for task in rows
        },
        calibration={
            task: Calibration.of(
                found_RF,
                rows[task].user_R,
                negatives=protocol.negatives,
                training_negatives=training_negatives,
                resamples=config.bootstrap,
                seed=seed,
            )
            for task, (_, found_RF) in answered.items()
        },
        strata={
            task: TaskStrata.of(_ranks_of_task(ranks, task), task_rows, store, training_users_I)
            for task, task_rows in rows.items()
        },
        catalogue=catalogue,
        candidates=candidates,
        fit=read_fit(trained.folder.fit),
    )
    _save(trained.folder, ranks[GENSR], rows, result)
    return result


def _ranks_of_task(
    ranks: Mapping[str, Mapping[Behaviour, NDArray[np.int64]]], task: Behaviour
) -> dict[str, NDArray[np.int64]]:
    return {name: by_task[task] for name, by_task in ranks.items() if task in by_task}


def _scorer_result(
    name: str,
    ranks: Mapping[Behaviour, NDArray[np.int64]],
    gensr: Mapping[Behaviour, NDArray[np.int64]],
    rows: Mapping[Behaviour, EvalRows],
    config: EvaluationConfig,
    seed: int,
) -> ScorerResult:
    return ScorerResult(
        scorer=name,
        tasks={
            task: TaskMetrics.from_ranks(rank_R, rows[task].user_R, resamples=config.bootstrap, seed=seed)
            for task, rank_R in ranks.items()
        },
        behind={
            task: paired_test(gensr[task], rank_R, rows[task].user_R, resamples=config.bootstrap, seed=seed)
            for task, rank_R in ranks.items()
            if name != GENSR and config.bootstrap > 0
        },
    )


def rows_to_rank(
    store: TimelineStore, config: EvaluationConfig, seed: int
) -> tuple[dict[Behaviour, EvalRows], EvaluationProtocol]:
    """The test rows of each task that has some, drawn where `evaluation.rows` says so, and how they are ranked.

    Raises:
        InputError: there is no test row.
    """
    available = {task: store.eval_rows(Split.TEST, task) for task in TASK_NAMES}
    rows = {task: draw_rows(all_rows, config.rows, seed) for task, all_rows in available.items() if len(all_rows)}
    if not rows:
        raise InputError(store.folder.place, "no test row of either task", "prepare a longer log or another data.split")
    return rows, _protocol(store.manifest, rows, available, config, seed)


def _protocol(
    manifest: Manifest,
    rows: Mapping[Behaviour, EvalRows],
    available: Mapping[Behaviour, EvalRows],
    config: EvaluationConfig,
    seed: int,
) -> EvaluationProtocol:
    digest = hashlib.sha256()
    for task_rows in rows.values():
        digest.update(np.ascontiguousarray(task_rows.event_R).tobytes())
        digest.update(np.ascontiguousarray(task_rows.candidate_RC).tobytes())
    return EvaluationProtocol(
        split="test",
        split_method=manifest.config.split,
        cutoffs=CUTOFFS,
        negatives=next(iter(rows.values())).candidate_RC.shape[1] - 1,
        negatives_seed=manifest.seed,
        ties="ranked pessimistically: a negative with the positive's score comes before it",
        seed=seed,
        rows={TASK_NAMES[task]: len(task_rows) for task, task_rows in rows.items()},
        rows_available={TASK_NAMES[task]: len(available[task]) for task in rows},
        bootstrap=config.bootstrap,
        confidence=CONFIDENCE,
        rows_digest=digest.hexdigest(),
    )


def _save(
    run: RunFolder,
    ranks: Mapping[Behaviour, NDArray[np.int64]],
    rows: Mapping[Behaviour, EvalRows],
    result: EvaluationResult,
) -> None:
    """Only the first rank writes."""
    if torch.distributed.is_initialized() and torch.distributed.get_rank():
        return
    for task, rank_R in ranks.items():
        save_ranks(run.root, task, rank_R, rows[task].user_R)
    write_report(run, result)
    evaluation_page(result).write(run.report_page)
