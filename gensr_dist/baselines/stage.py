"""A baseline from its training to its test rows.

Dimensions: R rows, C candidates.
"""

import dataclasses
import time
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from gensr_dist.baselines.contract import Settings
from gensr_dist.baselines.registry import entry
from gensr_dist.baselines.result import BaselineResult, Cost
from gensr_dist.baselines.scorer import ROWS_A_CALL, BaselineScorer, catalogue_ranks
from gensr_dist.baselines.training import Trained, train_baseline
from gensr_dist.config.root import Config
from gensr_dist.data.events import Behaviour
from gensr_dist.data.timelines.rows import EvalRows
from gensr_dist.evaluation.metrics import TASK_NAMES, TaskMetrics, mean_metrics
from gensr_dist.evaluation.protocol import draw_rows, rank_positives
from gensr_dist.evaluation.significance import PairedTest, gensr_ranks, paired_test, save_ranks
from gensr_dist.evaluation.stage import rows_to_rank
from gensr_dist.runs.folder import RunFolder
from gensr_dist.runs.prepared_data import PreparedData
from gensr_dist.storage.records import write_json


def run_baseline(
    name: str, settings: Settings, config: Config, run: RunFolder, folder: RunFolder, *, resume: bool = True
) -> BaselineResult:
    """Train a baseline on a run's shards and vectors, and rank the test rows that `gensr evaluate` ranks.

    Args:
        name: of the registry.
        settings: of the baseline.
        config: of the run.
        run: holds shards and CF vectors.
        folder: of the baseline.
        resume: go on from the newest checkpoint, if there is one.

    Raises:
        InputError: the log lacks what it needs, its table does not fit, a loss or score is not finite.
        Paused: it was asked to end; it goes on another time.
    """
    data = PreparedData.open(run, config, folds=True)
    trained = train_baseline(name, settings, config, data, folder, resume=resume)
    result = _evaluated(name, settings, config, data, run, folder, trained)
    if trained.ranks.first:
        write_json(folder.metrics, result)
    trained.ranks.wait()
    return result


def _evaluated(
    name: str,
    settings: Settings,
    config: Config,
    data: PreparedData,
    run: RunFolder,
    folder: RunFolder,
    trained: Trained,
) -> BaselineResult:
    seed, evaluation = config.seed, config.evaluation
    drawn, protocol = rows_to_rank(data.store, evaluation, seed)
    scorer = BaselineScorer(trained.model, trained.collator, trained.ranks.device)
    served = {task: rows for task, rows in drawn.items() if task in trained.model.tasks}
    began = time.perf_counter()
    ranks = {
        task: rank_positives(scorer, rows, ROWS_A_CALL, progress=f"{name}, {TASK_NAMES[task]}")
        for task, rows in served.items()
    }
    seconds = time.perf_counter() - began
    metrics = {
        task: TaskMetrics.from_ranks(rank_R, served[task].user_R, resamples=evaluation.bootstrap, seed=seed)
        for task, rank_R in ranks.items()
    }
    if trained.ranks.first:
        for task, rank_R in ranks.items():
            save_ranks(folder.root, task, rank_R, served[task].user_R)
    progress, entry_of = trained.progress, entry(name)
    return BaselineResult(
        baseline=name,
        title=entry_of.title,
        settings=dataclasses.asdict(settings),
        protocol=dataclasses.replace(protocol, rows={TASK_NAMES[task]: len(rows) for task, rows in served.items()}),
        tasks={TASK_NAMES[task]: of_task.values() for task, of_task in metrics.items()},
        intervals={
            TASK_NAMES[task]: {name: e.interval for name, e in of_task.named().items() if e.interval is not None}
            for task, of_task in metrics.items()
        },
        catalogue=_catalogue(name, scorer, served, data, config),
        behind=_behind(run, protocol.rows_digest, ranks, served, config),
        validation=progress.best_ndcg,
        cost=Cost(
            parameters=trained.parameters,
            steps=progress.steps,
            best_step=progress.best_step,
            epochs=progress.steps / trained.steps_per_epoch,
            seconds=progress.seconds,
            seconds_per_epoch=trained.seconds_per_epoch,
            candidates_per_second=sum(rows.candidate_RC.size for rows in served.values()) / max(seconds, 1e-9),
        ),
    )


def _catalogue(
    name: str, scorer: BaselineScorer, served: Mapping[Behaviour, EvalRows], data: PreparedData, config: Config
) -> dict[str, dict[str, float]]:
    """Metrics among all items that a row's user had not met, of `evaluation.catalogue_rows` rows a task."""
    if not config.evaluation.catalogue_rows:
        return {}
    found = {}
    for task, rows in served.items():
        sample = draw_rows(rows, config.evaluation.catalogue_rows, config.seed)
        rank_R = catalogue_ranks(scorer, sample, data.store, f"{name}, {TASK_NAMES[task]}, whole catalogue")
        found[TASK_NAMES[task]] = mean_metrics(rank_R)
    return found


def _behind(
    run: RunFolder,
    rows_digest: str,
    ranks: Mapping[Behaviour, NDArray[np.int64]],
    rows: Mapping[Behaviour, EvalRows],
    config: Config,
) -> dict[str, PairedTest]:
    """GenSR of the run against the baseline, where it was evaluated on the same rows; empty without resamples."""
    if not config.evaluation.bootstrap:
        return {}
    gensr = gensr_ranks(run.root, rows_digest)
    return {
        TASK_NAMES[task]: paired_test(
            gensr[task],
            rank_R,
            rows[task].user_R,
            resamples=config.evaluation.bootstrap,
            seed=config.seed,
        )
        for task, rank_R in ranks.items()
        if task in gensr and len(gensr[task]) == len(rank_R)
    }
