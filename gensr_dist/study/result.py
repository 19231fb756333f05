"""What a study found: a row a system, means and deviations over seeds, and GenSR against each.

Dimensions: R rows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gensr_dist.errors import InputError
from gensr_dist.evaluation.metrics import TASK_NAMES, ndcg_gain
from gensr_dist.evaluation.significance import PairedTest, SavedRanks, load_ranks, paired_gains
from gensr_dist.study.plan import Study
from gensr_dist.study.spec import REMEDY, TrialResult, read_outcome
from gensr_dist.study.trials import Done, best_of_search

_RESAMPLES = 10_000
_TASK_OF = {name: task for task, name in TASK_NAMES.items()}


@dataclass(frozen=True, kw_only=True)
class Spread:
    """A metric over seeds."""

    mean: float
    deviation: float  # of a sample; 0 with one seed
    seeds: int

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Of one or more values."""
        deviation = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
        return cls(mean=float(np.mean(values)), deviation=deviation, seeds=len(values))

    def shown(self) -> str:
        """For a cell of a table."""
        return f"{self.mean:.4f}" + (f" ± {self.deviation:.4f}" if self.seeds > 1 else "")


@dataclass(frozen=True, kw_only=True)
class SystemResult:
    """One system's row in the tables, or why it has none."""

    label: str
    system: str
    settings: tuple[str, ...]  # overrides of the best trial
    trials: int  # finished ones of the search
    failed: tuple[str, ...]  # what went wrong in the others
    sampled: Mapping[str, Mapping[str, Spread]]  # by task and metric
    catalogue: Mapping[str, Mapping[str, Spread]]
    catalogue_rows: int  # a task, fewer of slow systems
    hard: Mapping[str, Mapping[str, Spread]]  # by kind of the negatives and metric
    behind: Mapping[str, PairedTest]  # GenSR minus this one by task, rows averaged over seeds
    parameters: int
    seconds: float  # of a training, mean over seeds
    seconds_per_epoch: float
    candidates_per_second: float
    curve: tuple[tuple[float, float], ...]  # of the best trial


@dataclass(frozen=True, kw_only=True)
class StudyResult:
    """`study.json`."""

    name: str
    split: str  # data.split of the shards
    negatives: int
    rows: Mapping[str, int]  # ranked test rows by task
    waiting: tuple[str, ...]  # systems without a result yet
    systems: tuple[SystemResult, ...]

    def lines(self) -> tuple[str, ...]:
        """For people."""
        lines = []
        for system in self.systems:
            shown = ", ".join(
                f"{task} R@10 {of['recall@10'].mean:.4f} N@10 {of['ndcg@10'].mean:.4f}"
                for task, of in system.sampled.items()
            )
            lines.append(f"{system.label:<28} {shown or 'failed: ' + '; '.join(system.failed)}")
        return tuple(lines)


def _check_rows(chosen: Sequence[tuple[Path, TrialResult]]) -> None:
    """Raise InputError if two trials have ranked other rows: no row of one then stands beside that of another."""
    for folder, outcome in chosen:
        first_folder, first = chosen[0]
        if outcome.rows_digest != first.rows_digest:
            raise InputError(folder, f"its trial ranked other test rows than {first_folder.name}", REMEDY)


def _ranks(folder: Path, task: str) -> SavedRanks:
    try:
        return load_ranks(folder, _TASK_OF[task])
    except InputError as error:
        raise InputError(error.where, error.problem, REMEDY) from None


def collect(study: Study, done: Sequence[Done]) -> StudyResult:
    """Put together what the trials left."""
    systems, waiting = [], []
    trials = {label: [each for each in done if each.label == label] for label in study.labels}
    chosen = {label: _chosen(own, study.config.seed) for label, own in trials.items()}
    _check_rows([each for of in chosen.values() for each in of])
    gensr = _gains(chosen[study.gensr]) if study.gensr is not None else {}
    for label, own in trials.items():
        problems = tuple(dict.fromkeys(each.problem for each in own if each.value is None))
        if chosen[label] or problems:
            systems.append(_system(study, label, own, chosen[label], problems, gensr))
        else:
            waiting.append(label)
    rows: dict[str, int] = {}
    for folder, outcome in (of[0] for of in chosen.values() if of):
        rows |= {task: len(_ranks(folder, task).rank_R) for task in outcome.tasks}
    return StudyResult(
        name=study.folder.name,
        split=study.config.data.split,
        negatives=study.config.data.eval_negatives,
        rows=rows,
        waiting=tuple(waiting),
        systems=tuple(systems),
    )


def _chosen(own: Sequence[Done], seed: int) -> list[tuple[Path, TrialResult]]:
    """The best trial of a system's search, which has this seed, and its further seeds."""
    finished = [each for each in own if each.value is not None]
    if not finished:
        return []
    winner = best_of_search(finished, seed) or finished[0]
    same = {each.folder: each for each in finished if each.settings == winner.settings}
    return [(folder, outcome) for folder in same if (outcome := read_outcome(folder)) is not None]


def _gains(chosen: Sequence[tuple[Path, TrialResult]]) -> dict[str, np.ndarray]:
    """NDCG@10 of each row, averaged over seeds, by task; [R] each."""
    tasks = chosen[0][1].tasks if chosen else {}
    return {
        task: np.mean([ndcg_gain(_ranks(folder, task).rank_R, 10) for folder, _ in chosen], axis=0) for task in tasks
    }


def _system(
    study: Study,
    label: str,
    own: Sequence[Done],
    chosen: Sequence[tuple[Path, TrialResult]],
    problems: tuple[str, ...],
    gensr: Mapping[str, np.ndarray],
) -> SystemResult:
    outcomes = [outcome for _, outcome in chosen]
    behind: dict[str, PairedTest] = {}
    if label != study.gensr:
        for task, gain_R in _gains(chosen).items():
            if task in gensr:
                user_R = _ranks(chosen[0][0], task).user_R  # the same in every trial
                behind[task] = paired_gains(gensr[task], gain_R, user_R, resamples=_RESAMPLES, seed=0)
    searched = [each for each in own if each.seed == study.config.seed]
    settings = next((each.settings for each in own if chosen and each.folder == chosen[0][0]), ())
    return SystemResult(
        label=label,
        system=study.system(label).system,
        settings=settings,
        trials=sum(each.value is not None for each in searched),
        failed=problems,
        sampled=_spreads([outcome.tasks for outcome in outcomes]),
        catalogue=_spreads([outcome.catalogue for outcome in outcomes]),
        catalogue_rows=min((outcome.catalogue_rows for outcome in outcomes), default=0),
        hard=_spreads([outcome.hard for outcome in outcomes]),
        behind=behind,
        parameters=outcomes[0].parameters if outcomes else 0,
        seconds=_mean([outcome.seconds for outcome in outcomes]),
        seconds_per_epoch=_mean([outcome.seconds_per_epoch for outcome in outcomes]),
        candidates_per_second=_mean([outcome.candidates_per_second for outcome in outcomes]),
        curve=outcomes[0].curve if outcomes else (),
    )


def _spreads(outcomes: Sequence[Mapping[str, Mapping[str, float]]]) -> dict[str, dict[str, Spread]]:
    if not outcomes:
        return {}
    return {
        task: {metric: Spread.of([outcome[task][metric] for outcome in outcomes]) for metric in metrics}
        for task, metrics in outcomes[0].items()
    }


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else 0.0
