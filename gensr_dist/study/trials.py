"""The trials of a study in Optuna's storage, `study.db` of its folder: what waits, runs, is done and has failed.

Every system has an Optuna study of its own, named by its label, for its search, and one for its further seeds. Several
processes may take trials from one folder; a lock of the folder makes taking one atomic, a lock of the trial's folder
tells who still works.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import optuna
from optuna.exceptions import StorageInternalError
from optuna.samplers import RandomSampler
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from gensr_dist.baselines.registry import BASELINES
from gensr_dist.errors import InputError
from gensr_dist.evaluation.metrics import TASK_NAMES
from gensr_dist.storage.locks import lock
from gensr_dist.storage.records import digest, write_json
from gensr_dist.study.plan import FUSION, GENSR, SEEDS, Study, SystemPlan
from gensr_dist.study.settings import searched_overrides
from gensr_dist.study.spec import OUTCOME, SPEC, TrialResult, TrialSpec, read_outcome, trial_folder

_STORAGE = "study.db"
_FAILED, _FOLDER, _SEED, _SET = "failed", "folder", "seed", "set"  # user attributes of a trial
_REPEATED = "repeated"  # user attribute of an Optuna study


@dataclass
class Claimed:
    """A trial that this process has taken, with the lock of its folder."""

    study: str
    number: int
    spec: TrialSpec
    locks: ExitStack


@dataclass(frozen=True)
class Done:
    """A finished trial."""

    label: str
    settings: tuple[str, ...]
    seed: int
    folder: Path
    value: float | None  # mean NDCG@10 of validation rows; None where it failed
    problem: str = ""


def best_of_search(own: Iterable[Done], seed: int) -> Done | None:
    """Of a system's trials the finished one of its search, by its seed, that is best on validation rows."""
    searched = [each for each in own if each.seed == seed and each.value is not None]
    return max(searched, key=lambda each: each.value or 0.0, default=None)


class Trials:
    """The storage of one study.

    Args:
        study: opened; its folder exists.
        config: file of the shared data's resolved config.
    """

    def __init__(self, study: Study, config: Path) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.study, self.config = study, config
        path = (study.folder / _STORAGE).resolve()

        def connect() -> sqlite3.Connection:  # in a URL, signs of a path mean something
            return sqlite3.connect(path, timeout=60, check_same_thread=False)

        with self._locked():  # several processes may make its tables
            self._storage = RDBStorage(f"sqlite:///{_STORAGE}", engine_kwargs={"creator": connect})

    def claim(self) -> Claimed | None:
        """Take a trial that waits, planning further ones where earlier ones are done; None where none is to be had."""
        with self._locked():
            self._release_lost()
            self._plan()
            for name in self._names():
                waiting = self._of(name, TrialState.WAITING)
                if waiting:
                    return self._claimed(name, waiting[0].number)
        return None

    def running(self) -> bool:
        """Whether some process still works on a trial."""
        return any(self._of(name, TrialState.RUNNING) for name in self._names())

    def finish(self, claimed: Claimed, outcome: TrialResult | None, problem: str) -> None:
        """Note what came of a trial, and let go of it."""
        with self._locked():
            study = self._study(claimed.study)
            if outcome is None:
                number = study.trials[claimed.number]._trial_id
                self._storage.set_trial_user_attr(number, _FAILED, problem)  # before it is closed to notes
                study.tell(claimed.number, state=TrialState.FAIL)
            else:
                scores = outcome.validation.values()
                study.tell(claimed.number, sum(scores) / max(1, len(scores)))
        claimed.locks.close()

    def give_back(self, claimed: Claimed) -> None:
        """Let another process do a trial that this one does not end."""
        with self._locked():
            self._repeat(claimed.study, claimed.number)
        claimed.locks.close()

    def done(self) -> list[Done]:
        """Everything that has finished or failed, in the order of the plan."""
        found = []
        for name in self._names():
            repeated = self._repeated(name)
            for trial in self._of(name, TrialState.COMPLETE, TrialState.FAIL):
                attributes = trial.user_attrs
                if trial.number in repeated:
                    continue
                found.append(
                    Done(
                        label=name.removesuffix(SEEDS),
                        settings=tuple(attributes.get(_SET, ())),
                        seed=attributes.get(_SEED, self.study.config.seed),
                        folder=self.study.folder / attributes.get(_FOLDER, ""),
                        value=trial.value if trial.state == TrialState.COMPLETE else None,
                        problem=attributes.get(_FAILED, ""),
                    )
                )
        return found

    def winner(self, label: str) -> Done | None:
        """The best trial of a system's search; None where all failed, or some is not done."""
        if self._of(label, TrialState.WAITING, TrialState.RUNNING):
            return None
        return best_of_search((each for each in self.done() if each.label == label), self.study.config.seed)

    def _plan(self) -> None:
        """Enqueue what can be planned by now."""
        plan = self.study.plan
        for label in self.study.labels:
            searched, system = self._study(label), self.study.system(label).system
            if not searched.trials and system != FUSION:
                for number in range(plan.trials if system in BASELINES else 1):
                    searched.enqueue_trial({}, user_attrs={"number": number})
        winners = {label: best for label in self.study.labels if (best := self.winner(label)) is not None}
        for label, winner in winners.items():
            if self.study.system(label).learns:
                self._plan_seeds(label, winner, plan.seeds)
        if any(self._of(label, TrialState.WAITING, TrialState.RUNNING) for label in self.study.labels):
            return
        ranked = self._ranked(winners)
        for label in self.study.labels:
            if self.study.system(label).system == FUSION and not self._study(label).trials:
                self._plan_fusion(label, winners, ranked)
        if plan.best:
            for label in self._best(ranked):
                if label in winners:
                    self._plan_seeds(label, winners[label], plan.best_seeds)

    def _plan_seeds(self, label: str, winner: Done, seeds: int) -> None:
        study = self._study(label + SEEDS)
        planned = {trial.user_attrs.get(_SEED) for trial in study.trials}
        for seed in range(self.study.config.seed + 1, self.study.config.seed + seeds):
            if seed not in planned:
                study.enqueue_trial({}, user_attrs={_SEED: seed, _SET: list(winner.settings)})

    def _ranked(self, winners: Mapping[str, Done]) -> Mapping[str, Sequence[str]]:
        """Systems by task, the best on validation rows first."""
        found = {label: read_outcome(winner.folder) for label, winner in winners.items()}
        scores = {label: outcome.validation for label, outcome in found.items() if outcome is not None}
        return {
            task: sorted((label for label in scores if task in scores[label]), key=lambda label: -scores[label][task])
            for task in TASK_NAMES.values()
        }

    def _plan_fusion(self, label: str, winners: Mapping[str, Done], ranked: Mapping[str, Sequence[str]]) -> None:
        """Of the baselines that are best on validation rows; none without one of each task."""
        folders: list[str] = []
        for labels in ranked.values():
            baselines = [own for own in labels if self.study.system(own).system in BASELINES]
            folders += [winners[own].folder.name for own in baselines[:1]]
        if len(folders) == len(ranked):
            self._study(label).enqueue_trial({}, user_attrs={_SET: folders})

    def _best(self, ranked: Mapping[str, Sequence[str]]) -> Sequence[str]:
        """GenSR, and the best systems of each task that learn."""
        chosen = [label for label in self.study.labels if self.study.system(label).system == GENSR]
        for of_task in ranked.values():
            learning = [label for label in of_task if self.study.system(label).learns]
            chosen += learning[: self.study.plan.best]
        return list(dict.fromkeys(chosen))

    def _claimed(self, name: str, number: int) -> Claimed:
        """Take the first trial that waits in one of Optuna's studies, which has this number."""
        study, label = self._study(name), name.removesuffix(SEEDS)
        system = self.study.system(label)
        seeded = int(digest([label, number])[:8], 16)
        study.sampler = RandomSampler(seed=seeded)  # a trial draws the same whoever takes it
        trial = study.ask()
        attributes = trial.user_attrs
        settings = tuple(attributes[_SET]) if _SET in attributes else self._settings(system, trial)
        seed = attributes.get(_SEED, self.study.config.seed)
        folder = trial_folder(self.study.folder, label, settings, seed)
        trial.set_user_attr(_SET, list(settings))
        trial.set_user_attr(_SEED, seed)
        trial.set_user_attr(_FOLDER, str(folder.relative_to(self.study.folder)))
        spec = TrialSpec(
            label=label,
            system=system.system,
            set=settings,
            seed=seed,
            epochs=self.study.plan.epochs,
            hours=self.study.plan.hours,
            config=str(self.config),
            folder=str(folder),
        )
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / SPEC, spec)
        locks = ExitStack()
        _lock(locks, folder)
        return Claimed(name, trial.number, spec, locks)

    def _settings(self, system: SystemPlan, trial: optuna.Trial) -> tuple[str, ...]:
        """The plan's own settings, and drawn ones behind the first trial."""
        if trial.user_attrs.get("number", 0) == 0 or system.system not in BASELINES:
            return system.set
        return searched_overrides(trial, system.system, system.set)

    def _release_lost(self) -> None:
        """Plan again what a process that is gone had taken, and what is done or failed and whose folder was deleted."""
        for name in self._names():
            for trial in self._of(name, TrialState.COMPLETE, TrialState.FAIL):
                folder = self.study.folder / trial.user_attrs.get(_FOLDER, "")
                left = folder / OUTCOME if trial.state == TrialState.COMPLETE else folder
                if trial.number not in self._repeated(name) and not left.exists():
                    self._repeat(name, trial.number)
            for trial in self._of(name, TrialState.RUNNING):
                folder = trial.user_attrs.get(_FOLDER)
                with ExitStack() as locks:
                    if folder is not None and not _lock(locks, self.study.folder / folder):
                        continue
                    self._repeat(name, trial.number)

    def _repeat(self, name: str, number: int) -> None:
        study = self._study(name)
        trial = study.trials[number]
        attributes = {key: value for key, value in trial.user_attrs.items() if key in ("number", _SEED, _SET)}
        if trial.user_attrs.get("number", 0):
            attributes.pop(_SET, None)
        if not trial.state.is_finished():
            study.tell(number, state=TrialState.FAIL)
        study.set_user_attr(_REPEATED, [*self._repeated(name), number])
        study.enqueue_trial(trial.params, user_attrs=attributes)

    def _repeated(self, name: str) -> list[int]:
        """Trials in place of which others were planned."""
        numbers: list[int] = self._study(name).user_attrs.get(_REPEATED, [])
        return numbers

    def _names(self) -> list[str]:
        """Optuna's studies, those of the searches first."""
        labels = self.study.labels
        return [*labels, *(label + SEEDS for label in labels)]

    def _of(self, name: str, *states: TrialState) -> list[FrozenTrial]:
        return self._study(name).get_trials(deepcopy=False, states=states)

    def _study(self, name: str) -> optuna.Study:
        return optuna.create_study(storage=self._storage, study_name=name, direction="maximize", load_if_exists=True)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with (self.study.folder / ".trials.lock").open("w") as file:
            lock(file, wait=True)
            yield


def _lock(locks: ExitStack, folder: Path) -> bool:
    """Hold the lock of a trial's folder until the stack ends; False where another process holds it."""
    folder.mkdir(parents=True, exist_ok=True)
    return lock(locks.enter_context((folder / ".working").open("w")), wait=False)


@contextmanager
def explained(study: Study) -> Iterator[None]:
    """One line of what the storage of a study finds wrong: a full disk, a file that is damaged or may not be written.

    Raises:
        InputError: it does.
    """
    try:
        yield
    except (StorageInternalError, SQLAlchemyError) as error:
        cause = error.__cause__ or error
        problem = f"it cannot be used ({getattr(cause, 'orig', None) or cause})"
        remedy = "free space and check its permissions; of a damaged one, `trials` beside it keeps what was trained"
        raise InputError(study.folder / _STORAGE, problem, remedy) from None
