"""One trial: trains the system of FOLDER/trial.json and ranks the test rows.

The study begins `main` in a process of its own, with the arguments FOLDER and its own process id.

A trial that was killed goes on from its checkpoints; one that has finished is not done again.

Dimensions: R rows, C candidates, Q queries, T tokens of a query.
"""

import dataclasses
import math
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gensr_dist.baselines.registry import BASELINES
from gensr_dist.baselines.result import Curve
from gensr_dist.baselines.scorer import ROWS_A_CALL, BaselineScorer, catalogue_ranks
from gensr_dist.baselines.training import CURVE, Trained, train_baseline
from gensr_dist.baselines.untrained.systems import UNTRAINED
from gensr_dist.config.root import Config, load_config
from gensr_dist.data.child_processes import begin_child
from gensr_dist.data.events import Behaviour
from gensr_dist.data.negatives.query_items import QueryItems
from gensr_dist.data.timelines.rows import EvalRows
from gensr_dist.data.timelines.splits import Split
from gensr_dist.errors import InputError, Paused
from gensr_dist.evaluation.catalogue_metrics import ANSWERS
from gensr_dist.evaluation.fit import read_fit
from gensr_dist.evaluation.gensr_scorer import ROWS_A_CALL as GENSR_ROWS_A_CALL
from gensr_dist.evaluation.gensr_scorer import GenSRScorer
from gensr_dist.evaluation.metrics import TASK_NAMES, mean_metrics, ndcg_gain
from gensr_dist.evaluation.protocol import Scorer, draw_rows, rank_positives
from gensr_dist.evaluation.significance import save_ranks
from gensr_dist.evaluation.stage import rows_to_rank
from gensr_dist.runs.folder import RunFolder
from gensr_dist.runs.prepared_data import PreparedData
from gensr_dist.runs.shared_results import SHARED, link_shared
from gensr_dist.runs.trained_run import TrainedRun
from gensr_dist.storage.records import read_record, write_json
from gensr_dist.study.fusion import fused
from gensr_dist.study.hard_negatives import harder
from gensr_dist.study.plan import GENSR
from gensr_dist.study.settings import trial_settings
from gensr_dist.study.spec import OUTCOME, TrialResult, TrialSpec, read_outcome, read_spec
from gensr_dist.train.training_rows import training_order

_CATALOGUE_SECONDS = 100  # that a task may take over the whole catalogue
_FEWEST = 200  # rows of it
_REMEDY = "delete the folder of the trial"


def run_trial(folder: Path) -> TrialResult:
    """Do the trial of a folder, unless it is done.

    Raises:
        InputError: whatever its system finds wrong.
    """
    done = read_outcome(folder)
    if done is not None:
        return done
    spec = read_spec(folder)
    config = load_config(Path(spec.config), done=True)
    shared = RunFolder.of(config)
    config = dataclasses.replace(config, seed=spec.seed)
    own = RunFolder.of(config, folder)
    if spec.system == GENSR:
        outcome = _gensr(spec, config, shared, own)
    elif spec.system in BASELINES:
        outcome = _baseline(spec, config, shared, own)
    else:
        data = PreparedData.open(shared, config, folds=False)
        system = UNTRAINED.get(spec.system)  # None: the fusion
        rows = _Rows(shared, data, config, frozenset(Behaviour) if system is None else system.tasks)
        scorer: Scorer = fused(spec, config, data, rows.validation) if system is None else system.make(data)
        outcome = rows.outcome(spec, scorer, folder, ROWS_A_CALL)
    write_json(folder / OUTCOME, outcome)
    return outcome


class _Rows:
    """The rows that every system of a study is measured on."""

    def __init__(
        self, shared: RunFolder, data: PreparedData | TrainedRun, config: Config, tasks: frozenset[Behaviour]
    ) -> None:
        self.store, self.items, self.config = data.store, data.items, config
        self.query_items = QueryItems.open(shared.channels, len(self.items.query_QT), self.store.items)
        store = self.store
        seed = 0  # the same rows for all seeds
        drawn, protocol = rows_to_rank(store, config.evaluation, seed)
        self.digest = protocol.rows_digest
        self.test = {task: rows for task, rows in drawn.items() if task in tasks}
        validation = {
            task: draw_rows(store.eval_rows(Split.VALID, task), config.train.validate_rows, seed) for task in tasks
        }
        self.validation = {task: rows for task, rows in validation.items() if len(rows)}

    def outcome(
        self, spec: TrialSpec, scorer: Scorer, folder: Path, rows_a_call: int, *, catalogue: bool = True
    ) -> TrialResult:
        """Measure a scorer; its ranks of the test rows are kept in the folder."""
        began = time.perf_counter()
        ranks = {
            task: rank_positives(scorer, rows, rows_a_call, progress=spec.label) for task, rows in self.test.items()
        }
        seconds = time.perf_counter() - began
        for task, rank_R in ranks.items():
            save_ranks(folder, task, rank_R, self.test[task].user_R)
        per_second = sum(rows.candidate_RC.size for rows in self.test.values()) / max(seconds, 1e-9)
        sampled = self._sample(per_second if catalogue else math.inf)
        return TrialResult(
            label=spec.label,
            seed=spec.seed,
            validation={
                TASK_NAMES[task]: float(ndcg_gain(rank_positives(scorer, rows, rows_a_call), 10).mean())
                for task, rows in self.validation.items()
            },
            tasks=_named(ranks),
            rows_digest=self.digest,
            catalogue=_named(
                {task: catalogue_ranks(scorer, rows, self.store, spec.label) for task, rows in sampled.items()}
                if catalogue
                else {}
            ),
            catalogue_rows=max(map(len, sampled.values()), default=0),
            hard=self._hard(scorer, rows_a_call),
            candidates_per_second=per_second,
        )

    def _hard(self, scorer: Scorer, rows_a_call: int) -> dict[str, dict[str, float]]:
        searches = self._sample(math.inf).get(Behaviour.SEARCH)
        if searches is None:
            return {}
        kinds = harder(searches, self.store, self.items, self.query_items)
        return {kind: mean_metrics(rank_positives(scorer, rows, rows_a_call)) for kind, rows in kinds.items()}

    def _sample(self, per_second: float) -> dict[Behaviour, EvalRows]:
        """`evaluation.catalogue_rows` a task; some of those of a scorer that would take hours for all items."""
        count = self.config.evaluation.catalogue_rows
        if not count:
            return {}
        sample = {task: draw_rows(rows, count, 0) for task, rows in self.test.items()}
        if math.isfinite(per_second):
            count = max(_FEWEST, int(per_second * _CATALOGUE_SECONDS / self.store.items))
        return {task: draw_rows(rows, count, 0) for task, rows in sample.items()}


def _baseline(spec: TrialSpec, config: Config, shared: RunFolder, folder: RunFolder) -> TrialResult:
    data = PreparedData.open(shared, config, folds=True)
    settings = trial_settings(spec)
    trained = train_baseline(spec.system, settings, config, data, folder, budget=spec.hours * 3600 or math.inf)
    rows = _Rows(shared, data, config, trained.model.tasks)
    scorer = BaselineScorer(trained.model, trained.collator, trained.ranks.device)
    outcome = rows.outcome(spec, scorer, folder.root, ROWS_A_CALL)
    return dataclasses.replace(
        outcome,
        parameters=trained.parameters,
        seconds=trained.progress.seconds,
        seconds_per_epoch=trained.seconds_per_epoch,
        curve=_curve_of(trained, folder),
    )


def _curve_of(trained: Trained, folder: RunFolder) -> tuple[tuple[float, float], ...]:
    curve = read_record(folder.root / CURVE, Curve, "a curve", missing=_REMEDY, wrong=_REMEDY)
    a_step = trained.progress.seconds / max(1, trained.progress.steps)
    return tuple(
        (point.step * a_step, sum(point.validation.values()) / len(point.validation)) for point in curve.points
    )


def _gensr(spec: TrialSpec, config: Config, shared: RunFolder, folder: RunFolder) -> TrialResult:
    from gensr_dist.graph.stage import lightgcn
    from gensr_dist.retrieval.catalogue import evaluate_catalogue
    from gensr_dist.retrieval.stage import index_run, open_ranker

    own = load_config(Path(spec.config), [*spec.set, f"seed={spec.seed}"], done=True)
    config = dataclasses.replace(own, run=str(folder.root))
    own_vectors = any(text.startswith("lightgcn.") for text in spec.set)
    link_shared(folder, shared, [name for name in SHARED if not (own_vectors and name == folder.cf.name)])
    if own_vectors and not folder.cf.exists():
        lightgcn(config, folder, resume=True)
    seconds, best, steps = _train_gensr(spec, config, folder)
    opened = TrainedRun.open(folder, config)
    rows = _Rows(shared, opened, config, config.train.trained_tasks)
    scorer = GenSRScorer(opened.model, opened.collator, opened.device, config.evaluation.prompts)
    outcome = rows.outcome(spec, scorer, folder.root, GENSR_ROWS_A_CALL, catalogue=False)
    catalogue: Mapping[str, Mapping[str, float]] = {}
    if config.evaluation.catalogue_rows:
        index_run(opened, config)
        ranker = open_ranker(opened, config)
        found = evaluate_catalogue(opened, ranker, config.retrieval.candidates, config.evaluation, 0)
        trained = config.train.trained_tasks
        catalogue = {TASK_NAMES[each.task]: each.orders[ANSWERS].values() for each in found if each.task in trained}
    fit, order = read_fit(folder.fit), training_order(opened.store, config.train, config.seed)
    return dataclasses.replace(
        outcome,
        catalogue=catalogue,
        parameters=sum(parameter.numel() for parameter in opened.model.parameters()),
        seconds=seconds,
        seconds_per_epoch=seconds / steps * order.steps_per_epoch if steps else 0.0,
        curve=() if fit is None else ((seconds, best),),
    )


def _train_gensr(spec: TrialSpec, config: Config, folder: RunFolder) -> tuple[float, float, int]:
    """Seconds of training, the best mean validation NDCG@10, and steps; 0 of a training that `hours` ended.

    What the starts before this one took is of the budget, as it is of a baseline's.
    """
    from gensr_dist.train.checkpoints import series_in
    from gensr_dist.train.loop import train

    saved = series_in(folder.checkpoints)
    newest = saved.newest_whole()
    seconds = saved.read(newest).seconds if newest else 0.0
    left = spec.hours * 3600 - seconds if spec.hours else math.inf
    if left > 0:
        limit = left / 3600 if spec.hours else 0.0
        began = time.perf_counter()
        try:
            result = train(
                dataclasses.replace(config, train=dataclasses.replace(config.train, max_hours=limit)), folder
            )
        except Paused:
            if time.perf_counter() - began < left:
                raise  # a signal, not the budget
            seconds += time.perf_counter() - began
        else:
            return result.seconds, result.best_ndcg, result.steps
    fit = read_fit(folder.fit)
    if fit is None or fit.best is None:
        raise InputError(spec.label, "no validation came within `hours`", "raise `hours`")
    return seconds, float(np.mean([task.validation.ndcg for task in fit.best.tasks.values()])), 0


def _named(ranks: Mapping[Behaviour, NDArray[np.int64]]) -> dict[str, dict[str, float]]:
    return {TASK_NAMES[task]: mean_metrics(rank_R) for task, rank_R in ranks.items()}


def main(arguments: Sequence[str]) -> int:
    """Run the trial of a folder in this process; ends with it, should its parent be killed."""
    folder, parent = Path(arguments[0]), int(arguments[1])
    begin_child(parent)
    try:
        run_trial(folder)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
