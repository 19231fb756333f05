"""`gensr study`: prepares the data once, does the trials, writes the tables."""

import fcntl
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gensr_dist.config.root import resolved_yaml
from gensr_dist.errors import InputError
from gensr_dist.stages.order import BY_NAME
from gensr_dist.stages.runner import run_stage
from gensr_dist.stages.stage import PrepareWorkers
from gensr_dist.storage.durable import durable_file
from gensr_dist.storage.records import read_json, write_json
from gensr_dist.study.engines import TrialEngine, last_line
from gensr_dist.study.plan import Study, plan_digest
from gensr_dist.study.report import write_reports
from gensr_dist.study.result import StudyResult, collect
from gensr_dist.study.spec import read_outcome
from gensr_dist.study.trials import Claimed, Trials

_STAGES = ("simulate", "prepare", "lightgcn", "channels")
_IDENTITY = "plan.json"
_WAIT = 5.0  # seconds between looks at what other processes do


@dataclass(frozen=True)
class _Identity:
    digest: str


def run_study(
    study: Study, engine: TrialEngine, say: Callable[[str], None], advance: Callable[[], object]
) -> StudyResult:
    """Do all trials that are not done, and write `study.json`, `report.md` and `report.html`.

    Args:
        study: opened.
        engine: does the trials.
        say: shows a line.
        advance: is called after each trial.

    Raises:
        InputError: the folder is of another study, or the data cannot be prepared. A failed trial raises nothing: it
            is shown as failed.
    """
    study.folder.mkdir(parents=True, exist_ok=True)
    _check_identity(study)
    config = _prepared(study, say)
    trials = Trials(study, config)
    running: list[tuple[Claimed, Any]] = []
    try:
        while True:
            while len(running) < engine.places and (claimed := trials.claim()) is not None:
                running.append((claimed, engine.start(claimed.spec)))
                say(f"{claimed.spec.label}, seed {claimed.spec.seed}: begins ({claimed.spec.folder})")
            if not running:
                if not trials.running():
                    break
                time.sleep(_WAIT)
                continue
            place, problem = engine.wait([handle for _, handle in running])
            claimed, _ = running.pop(place)
            _conclude(trials, claimed, problem, say)
            advance()
            write_reports(study, collect(study, trials.done()))
    finally:
        for claimed, handle in running:
            engine.stop(handle)
            trials.give_back(claimed)
    result = collect(study, trials.done())
    write_reports(study, result)
    return result


def _conclude(trials: Trials, claimed: Claimed, problem: str, say: Callable[[str], None]) -> None:
    folder = Path(claimed.spec.folder)
    outcome = read_outcome(folder)
    if outcome is None:
        problem = last_line(folder) or problem or "it left no outcome"
        say(f"{claimed.spec.label}, seed {claimed.spec.seed}: failed: {problem}; to try it again delete {folder}")
    else:
        shown = ", ".join(f"{task} N@10 {metrics['ndcg@10']:.4f}" for task, metrics in outcome.tasks.items())
        say(f"{claimed.spec.label}, seed {claimed.spec.seed}: {shown} in {outcome.seconds:.0f} s")
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    trials.finish(claimed, outcome, problem)


def _check_identity(study: Study) -> None:
    """Refuse a folder that another plan has begun."""
    path, own = study.folder / _IDENTITY, plan_digest(study)
    if path.exists():
        remedy = "give this one another `folder`, or delete that one"
        if read_json(path, remedy).get("digest") != own:
            raise InputError(study.folder, "it holds a study with other settings", remedy)
        return
    write_json(path, _Identity(own))


def _prepared(study: Study, say: Callable[[str], None]) -> Path:
    """Prepare what all systems read; the file of its config."""
    with (study.folder / ".prepare.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the first of several processes prepares it, the others wait
        for name in _STAGES:
            stage = BY_NAME[name]
            if name != "simulate" or stage.takes_part(study.config):
                run_stage(stage, study.config, say, PrepareWorkers())
    path = study.folder / "data.yaml"
    with durable_file(path) as temporary:
        temporary.write_text(resolved_yaml(study.config), encoding="utf-8")
    return path.resolve()
