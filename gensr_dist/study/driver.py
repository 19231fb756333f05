"""`gensr study`: prepares the data once, does the trials, writes the tables. `gensr paper` has prepared it."""

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gensr_dist.config.root import resolved_yaml
from gensr_dist.errors import InputError
from gensr_dist.runs.folder import RunFolder
from gensr_dist.runs.records import read_record as read_stage
from gensr_dist.runs.shared_results import SHARED_STAGES
from gensr_dist.stages.order import plan
from gensr_dist.stages.runner import run_stage
from gensr_dist.storage.durable import durable_file
from gensr_dist.storage.locks import lock
from gensr_dist.storage.output_errors import require_room
from gensr_dist.storage.records import read_record, write_json
from gensr_dist.study.engines import TrialEngine, last_line
from gensr_dist.study.plan import Study, plan_digest
from gensr_dist.study.report import write_reports
from gensr_dist.study.result import StudyResult, collect
from gensr_dist.study.spec import TrialResult, read_outcome
from gensr_dist.study.trials import Claimed, Trials, explained

_IDENTITY = "plan.json"
_WAIT = 5.0  # seconds between looks at what other processes do


@dataclass(frozen=True)
class _Identity:
    digest: str
    data: str = ""  # what `prepare` made; the log may have changed where it lies


def prepare_study(study: Study, say: Callable[[str], None]) -> None:
    """Run the stages whose results all systems read.

    Raises:
        InputError: the folder is of another study, or the data cannot be prepared.
    """
    _check_identity(study)
    with (study.folder / ".prepare.lock").open("w") as file:
        if not lock(file, wait=False):  # the first of several processes prepares it, the others wait
            say(f"another process prepares {study.folder}: waiting for it")
            lock(file, wait=True)
        for stage in plan(study.config):
            if stage.name in SHARED_STAGES:
                run_stage(stage, study.config, say)


def run_study(
    study: Study, engine: TrialEngine, say: Callable[[str], None], advance: Callable[[], object]
) -> StudyResult:
    """Do all trials that are not done, and write `study.json`, `report.md` and `report.html`.

    The three are written again after each trial.

    Args:
        study: opened; the data of its config is prepared.
        engine: does the trials.
        say: shows a line.
        advance: is called after each trial.

    Raises:
        InputError: the folder is of another study. A failed trial raises nothing: it is shown as failed.
        OSError: the folder has no room left; the trial that found this is not a failed one.
    """
    prepared = read_stage("prepare", RunFolder.of(study.config))
    _check_identity(study, prepared.made if prepared is not None else "")
    with explained(study):
        return _do_trials(study, engine, say, advance)


def _do_trials(
    study: Study, engine: TrialEngine, say: Callable[[str], None], advance: Callable[[], object]
) -> StudyResult:
    config = study.folder / "data.yaml"
    with durable_file(config) as temporary:
        temporary.write_text(resolved_yaml(study.config), encoding="utf-8")
    trials = Trials(study, config.resolve())
    running: list[tuple[Claimed, Any]] = []
    waits = False
    try:
        while True:
            while len(running) < engine.places and (claimed := trials.claim()) is not None:
                running.append((claimed, engine.start(claimed.spec)))
                say(f"{claimed.spec.label}, seed {claimed.spec.seed}: begins ({claimed.spec.folder})")
            if not running:
                if not trials.running():
                    break
                if not waits:
                    say(f"other processes do the trials that are left in {study.folder}: waiting for them")
                waits = True
                time.sleep(_WAIT)
                continue
            _report(study, trials)
            place, problem = engine.wait([handle for _, handle in running])
            claimed, _ = running[place]
            outcome = read_outcome(Path(claimed.spec.folder))
            if outcome is None:
                require_room(study.folder)  # a full disk is no fault of the system's, nor of those that come after it
            running.pop(place)
            _conclude(trials, claimed, outcome, problem, say)
            advance()
    finally:
        for claimed, handle in running:
            engine.stop(handle)
            trials.give_back(claimed)
    return _report(study, trials)


def _report(study: Study, trials: Trials) -> StudyResult:
    result = collect(study, trials.done())
    write_reports(study, result)
    return result


def _conclude(
    trials: Trials, claimed: Claimed, outcome: TrialResult | None, problem: str, say: Callable[[str], None]
) -> None:
    folder = Path(claimed.spec.folder)
    if outcome is None:
        problem = last_line(folder) or problem or "it left no outcome"
        say(f"{claimed.spec.label}, seed {claimed.spec.seed}: failed: {problem}; to try it again delete {folder}")
    else:
        shown = ", ".join(f"{task} N@10 {metrics['ndcg@10']:.4f}" for task, metrics in outcome.tasks.items())
        say(f"{claimed.spec.label}, seed {claimed.spec.seed}: {shown} in {outcome.seconds:.0f} s")
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    trials.finish(claimed, outcome, problem)


def _check_identity(study: Study, data: str = "") -> None:
    """Make the study's folder, and refuse one that another plan has begun, or this one with other data."""
    study.folder.mkdir(parents=True, exist_ok=True)
    path, own = study.folder / _IDENTITY, _Identity(plan_digest(study), data)
    if path.exists():
        remedy = "give this one another `folder`, or delete that one"
        found = read_record(path, _Identity, "a study", missing=remedy, wrong=remedy)
        if found.digest != own.digest:
            raise InputError(study.folder, "it holds a study with other settings", remedy)
        if data and found.data and found.data != data:
            raise InputError(study.folder, "its trials were made from other data, as of a log that has changed", remedy)
        if found.data or not data:
            return
    write_json(path, own)
