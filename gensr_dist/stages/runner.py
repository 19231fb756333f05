"""The one driver of stages: a stage alone or on the ranks of a launcher, or all of them in order."""

import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from gensr_dist.config.root import Config
from gensr_dist.distributed.launcher_variables import started_by_launcher
from gensr_dist.errors import InputError, Paused
from gensr_dist.runs.folder import RunFolder
from gensr_dist.runs.records import StageRecord, locked, record_path
from gensr_dist.stages.order import plan
from gensr_dist.stages.recorder import Recorder, write_config
from gensr_dist.stages.stage import Job, PrepareWorkers, Stage
from gensr_dist.stages.status import RunStatus

Say: TypeAlias = Callable[[str], None]  # shows a line to the user
LOCAL = PrepareWorkers()
Resume: TypeAlias = Literal["auto", "never"]

# How often a launcher has started the same command again by itself.
_RESTART_COUNTS = ("TORCHELASTIC_RESTART_COUNT", "SLURM_RESTART_COUNT")


@dataclass(frozen=True, kw_only=True)
class StageResult:
    """What a command of one stage did."""

    stage: str
    run: str
    skipped: bool
    seconds: float  # when it ran
    result: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """What `gensr run` did."""

    run: str
    done: tuple[str, ...]
    skipped: tuple[str, ...]
    seconds: float
    stages: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # result of each stage


def run_stage(
    stage: Stage, config: Config, say: Say, workers: PrepareWorkers = LOCAL, resume: Resume = "auto"
) -> StageResult:
    """Run one stage, unless its last finished run had the same settings and inputs.

    Damaged shards are prepared again, as the messages about them advise. Under a launcher every rank calls it: the
    first one alone speaks, decides and keeps the record.

    Args:
        stage: to run.
        config: of the run.
        say: shows a line.
        workers: of `prepare`.
        resume: `never` deletes checkpoints of the stage, except where a launcher repeats a start after a failure.

    Raises:
        InputError: an earlier stage has not run, or ran with other settings; or what the stage itself finds wrong.
        Paused: it was asked to end, and goes on another time.
    """
    run = RunFolder.of(config)
    if started_by_launcher():
        return _on_ranks(stage, config, run, say, resume)
    with locked(run):
        status = RunStatus(config, run)
        status.check_inputs(stage)
        earlier = status.finished(stage)
        if stage.name == "prepare" and earlier is not None and not _whole(run, say):
            earlier = None
        if earlier is not None and resume == "auto":
            _tell_skipped(earlier, status.unseen(stage), run, say)
            return _result(earlier, run, skipped=True)
        record = _do(stage, status, say, workers, resume)
        _tell(record.stage, record.seconds, record.summary, say)
        return _result(record, run, skipped=False)


def run_all(config: Config, say: Say) -> RunResult:
    """Run every stage whose settings or inputs changed; the summary of the last one stands at the end.

    Raises:
        InputError: what a stage finds wrong.
        Paused: a stage was asked to end.
    """
    run = RunFolder.of(config)
    started = time.monotonic()
    records: dict[str, StageRecord] = {}
    done: list[str] = []
    with locked(run):
        status = RunStatus(config, run)
        *earlier, last = plan(config)
        for stage in (*earlier, last):
            record = status.finished(stage)
            if record is not None:
                say(_skipped(record, status.unseen(stage)))
            else:
                record = _do(stage, status, say, LOCAL, "auto")
                done.append(stage.name)
                if stage is not last:
                    _tell(record.stage, record.seconds, record.summary, say)
            records[stage.name] = record
        write_config(config, run)
    say("")
    record = records[last.name]
    if last.name in done:
        _tell(record.stage, record.seconds, record.summary, say)
    else:
        _tell_lines(record.summary, say)
    return RunResult(
        run=str(run.root),
        done=tuple(done),
        skipped=tuple(name for name in records if name not in done),
        seconds=round(time.monotonic() - started, 3),
        stages={name: record.result for name, record in records.items()},
    )


def rank_of_launcher() -> int:
    """The rank that a launcher gave this process; 0 without one.

    Raises:
        InputError: the launcher's variables do not go together.
    """
    return int(os.environ["RANK"]) if started_by_launcher() else 0


def _on_ranks(stage: Stage, config: Config, run: RunFolder, say: Say, resume: Resume) -> StageResult:
    """The same as of one process; every rank returns the result."""
    rank, world = rank_of_launcher(), int(os.environ["WORLD_SIZE"])
    if world > 1 and not stage.on_ranks:
        problem = f"{world}, but `gensr {stage.name}` is the work of one process"
        raise InputError("WORLD_SIZE", problem, "start it without a launcher")
    from gensr_dist.distributed.ranks import join_processes

    with ExitStack() as stack:
        recorder = earlier = None
        unseen = ""
        if rank == 0:
            stack.enter_context(locked(run))
            # A folder that was put together by hand, of shards and vectors alone, serves as it is.
            if run.stages.is_dir():
                status = RunStatus(config, run)
                recorder = Recorder(stage, status)
                earlier = status.finished(stage) if resume == "auto" else None
                unseen = status.unseen(stage)
                _tell_why(stage, status, recorder, say)
        ranks = join_processes()
        began = time.monotonic()
        goes_on = (recorder is None or recorder.resume) and (resume == "auto" or _restarted())
        earlier, goes_on = ranks.from_first(lambda: (earlier, goes_on))
        if earlier is not None:
            _tell_skipped(earlier, unseen, run, say)
            return _result(earlier, run, skipped=True)
        if recorder is not None:
            stack.enter_context(recorder)
        try:
            outcome = stage.do(Job(config=config, run=run, resume=goes_on))
        except Paused:
            ranks.wait()
            raise
        ranks.wait()
        if recorder is not None:
            recorder.finish(outcome)
    seconds = round(time.monotonic() - began, 3)
    _tell(stage.name, seconds, outcome.summary, say)
    return StageResult(stage=stage.name, run=str(run.root), skipped=False, seconds=seconds, result=outcome.result)


def _do(stage: Stage, status: RunStatus, say: Say, workers: PrepareWorkers, resume: Resume) -> StageRecord:
    if sys.stderr.isatty():  # elsewhere the line that says it is done is enough
        say(f"{stage.name}: running")
    recorder = Recorder(stage, status)
    _tell_why(stage, status, recorder, say)
    goes_on = recorder.resume and (resume == "auto" or _restarted())
    with recorder:
        return recorder.finish(stage.do(Job(config=status.config, run=status.run, resume=goes_on, workers=workers)))


def _restarted() -> bool:
    """Whether a launcher repeats this command after a failure: then there is something to go on from, asked or not.

    Raises:
        InputError: its count is no number.
    """
    counts = {name: os.environ.get(name, "0") for name in _RESTART_COUNTS}
    for name, text in counts.items():
        if not (text.isascii() and text.isdecimal()):
            raise InputError(name, f"{text!r}, expected a number", "start through a launcher or unset it")
    return any(int(text) for text in counts.values())


def _whole(run: RunFolder, say: Say) -> bool:
    """Whether no file of the shards is missing or damaged; says what is."""
    from gensr_dist.data.shards.verify import check_files

    try:
        check_files(run.shards)
    except InputError as fault:
        say(f"prepare: {fault.where}: {fault.problem}")
        return False
    return True


def _result(record: StageRecord, run: RunFolder, *, skipped: bool) -> StageResult:
    seconds, result = record.seconds, record.result
    return StageResult(stage=record.stage, run=str(run.root), skipped=skipped, seconds=seconds, result=result)


def _tell_why(stage: Stage, status: RunStatus, recorder: Recorder, say: Say) -> None:
    """What has changed since the stage finished last time."""
    if recorder.earlier is not None and recorder.earlier.finished and (why := status.difference(stage)):
        say(f"{stage.name}: {why}" + ("" if recorder.resume else "; it starts over"))


def _tell_skipped(record: StageRecord, unseen: str, run: RunFolder, say: Say) -> None:
    say(f"{_skipped(record, unseen)}; delete {record_path(record.stage, run)} to do it again")
    _tell_lines(record.summary, say)


def _skipped(record: StageRecord, unseen: str) -> str:
    line = f"{record.stage}: unchanged, skipped ({record.seconds:.1f} s when it ran)"
    return f"{line}; {unseen}" if unseen else line


def _tell(stage: str, seconds: float, summary: Sequence[str], say: Say) -> None:
    first = f": {summary[0]}" if summary else ""
    say(f"{stage}: done in {seconds:.1f} s{first}")
    _tell_lines(summary[1:], say)


def _tell_lines(lines: Sequence[str], say: Say) -> None:
    for line in lines:
        say(f"  {line}" if line else "")
