"""`stages/NAME.json` of a run folder: what a stage was made from and what it left."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gensr_dist.config.marks import Mark, marked
from gensr_dist.config.root import Config, flattened
from gensr_dist.errors import InputError
from gensr_dist.runs.folder import RunFolder
from gensr_dist.runs.outside_files import FileStates
from gensr_dist.storage.checked_files import DamagedError, FileRecord
from gensr_dist.storage.locks import lock
from gensr_dist.storage.records import read_record as read_json_record


@dataclass(frozen=True, kw_only=True)
class StageRecord:
    """A record that is not finished belongs to a stage that was interrupted."""

    stage: str
    fingerprint: str  # SHA-256 of stage, form, settings, inputs and contents of outside files
    form: int  # of the stage's results, see `Stage.form`
    settings: Mapping[str, Any]  # dotted keys
    inputs: Mapping[str, str]  # `made` of each stage whose results it read
    outside: Mapping[str, FileStates]  # files that it read from outside the run folder, by the key of their folder
    version: str  # of gensr_dist, for people
    made: str = ""  # what later stages depend on: of prepare the digest of its shards, of others the fingerprint
    contents: tuple[FileRecord, ...] = ()  # that it left, in the run folder; of prepare the manifest lists them
    finished: bool = False
    seconds: float = 0.0
    summary: tuple[str, ...] = ()  # for people
    result: Mapping[str, Any] = field(default_factory=dict)  # for programs


def record_path(stage: str, run: RunFolder) -> Path:
    """Where a stage leaves its record."""
    return run.stages / f"{stage.replace(' ', '_')}.json"


def read_record(stage: str, run: RunFolder) -> StageRecord | None:
    """The record that a stage left, None where there is none.

    Raises:
        InputError: the file is no such record, or one of an earlier version.
    """
    path = record_path(stage, run)
    if not path.exists():
        return None
    remedy = f"delete it and run `gensr {stage}` again"
    return read_json_record(path, StageRecord, "a finished stage", missing=remedy, wrong=remedy)


def lost_result(record: StageRecord, run: RunFolder) -> str:
    """What has become of a file that the stage left, in a sentence; empty where all are as they were.

    Raises:
        InputError: a file cannot be read.
    """
    for file in record.contents:
        damage = file.damage(run.root / file.name)
        if isinstance(damage, DamagedError):
            became = "is gone" if damage.size is None else "was changed or damaged since"
            return f"{damage.where}, a result of stage {record.stage}, {became}"
        if damage is not None:
            raise damage
    return ""


def check_consistent(stage: str, run: RunFolder) -> None:
    """Raise InputError unless the run folder holds a stage and all it read, each made from the others' present results.

    For serving: needs neither the config file nor the raw log. Shards may lie elsewhere.
    """
    if not run.root.is_dir():
        raise InputError(run.root, "no such run folder", "give the folder of a finished `gensr run`")
    last = _finished(stage, run)
    records = {name: _finished(name, run) for name in last.inputs} | {stage: last}
    for name, record in records.items():
        where, again = record_path(name, run), f"run `gensr {name}` again"
        if lost := lost_result(record, run):
            raise InputError(where, lost, again)
        for earlier, made in record.inputs.items():
            if earlier in records and records[earlier].made != made:
                raise InputError(where, f"{name} was made from other results of {earlier}", again)


def check_config(config: Config, stage: str, run: RunFolder) -> None:
    """Raise InputError unless the config of a run folder is that which a stage and all it read were made with.

    Places apart: shards may lie elsewhere now.
    """
    now = {key: value for key, value in flattened(config).items() if key not in marked(Config, Mark.PLACE)}
    for name in (stage, *_finished(stage, run).inputs):
        for key, value in _finished(name, run).settings.items():
            if key in now and now[key] != value:
                problem = f"{key} is {now[key]!r}, but stage {name} was made with {value!r}"
                raise InputError(run.config, problem, "run `gensr run` with the config of this run: it writes it again")


def _finished(stage: str, run: RunFolder) -> StageRecord:
    record = read_record(stage, run)
    if record is None or not record.finished:
        where = record_path(stage, run)
        raise InputError(where, f"stage {stage} has not finished in this run folder", f"run `gensr {stage}` first")
    return record


@contextmanager
def locked(run: RunFolder) -> Iterator[None]:
    """Keep other processes from working in the same run folder.

    Raises:
        InputError: another process holds it, or the folder cannot be made.
    """
    try:
        run.root.mkdir(parents=True, exist_ok=True)
        file = (run.root / ".lock").open("w")
    except OSError as error:
        raise InputError(
            error.filename or run.root, f"cannot write there ({error.strerror})", "set `run` to a folder of yours"
        ) from None
    with file:
        if not lock(file, wait=False):
            raise InputError(run.root, "another gensr works in this run folder", "wait for it, or set `run`")
        yield
