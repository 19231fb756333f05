"""What each stage depends on, and the record it leaves in the run folder, so that unchanged work is not done again."""

import dataclasses
import fcntl
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, TypeAlias, get_args

from pydantic import TypeAdapter, ValidationError
from typing_extensions import Self

from gensr_dist import __version__
from gensr_dist.config.root import Config, digest, flattened, resolved_yaml
from gensr_dist.data.config import BATCHING, READING
from gensr_dist.errors import InputError
from gensr_dist.graph.cf_files import RECORD
from gensr_dist.run.folder import RunFolder
from gensr_dist.run.outside_files import FileStates, OutsideFolder, differing, outside_of_prepare, outside_of_train
from gensr_dist.storage.files import atomic_file, read_json, write_json
from gensr_dist.train.config import OPERATIONAL

StageName: TypeAlias = Literal["simulate", "prepare", "lightgcn", "channels", "train", "index", "evaluate"]
STAGES: tuple[StageName, ...] = get_args(StageName)  # in the order of the data


# What a stage's results are like, apart from settings and inputs. Whoever makes a stage give other results, or read
# others than before, raises its number, so that those of earlier versions are made again. A version alone does not.
FORMS: Mapping[StageName, int] = {
    **dict.fromkeys(("simulate", "prepare", "lightgcn", "channels"), 1),
    **dict.fromkeys(("train", "index", "evaluate"), 2),  # towers of their own width, orders that are fitted
}


@dataclass(frozen=True, kw_only=True)
class StageRecord:
    """`stages/NAME.json` of a run folder. A record that is not finished belongs to a stage that was interrupted."""

    stage: StageName
    fingerprint: str  # SHA-256 of stage, form, settings, inputs and contents of outside files
    form: int  # of FORMS
    settings: Mapping[str, Any]  # dotted keys
    inputs: Mapping[str, str]  # `made` of each stage whose results it read
    outside: Mapping[str, FileStates]  # files that it read from outside the run folder, by the key of their folder
    version: str  # of gensr_dist, for people
    made: str = ""  # what later stages depend on: of prepare the digest of its shards, of others the fingerprint
    files: tuple[str, ...] = ()  # that it left, relative to the run folder; of prepare the manifest lists them
    finished: bool = False
    seconds: float = 0.0
    summary: tuple[str, ...] = ()  # for people
    result: Mapping[str, Any] = field(default_factory=dict)  # for programs


def inputs_of(stage: StageName, config: Config) -> tuple[StageName, ...]:
    """The stages whose results `stage` reads."""
    if stage == "simulate":
        return ()
    if stage == "prepare":
        return ("simulate",) if config.data.source == "simulate" else ()
    return STAGES[1 : STAGES.index(stage)]


def plan(config: Config) -> tuple[StageName, ...]:
    """The stages of a whole run, in order."""
    return STAGES if config.data.source == "simulate" else STAGES[1:]


def expected_record(stage: StageName, config: Config, run: RunFolder) -> StageRecord:
    """The unfinished record that `stage` has with this config, the present results of earlier stages and what now lies
    outside the run folder.

    Files that have gone since the stage ran (a log that was not copied to the training machine) count as unchanged.
    """
    earlier = read_record(stage, run)
    inputs = {name: read_record(name, run) for name in inputs_of(stage, config)}
    return _fingerprinted(
        StageRecord(
            stage=stage,
            fingerprint="",
            form=FORMS[stage],
            settings=_settings(stage, config),
            inputs={name: record.made if record is not None else "" for name, record in inputs.items()},
            outside={
                key: folder.states(earlier.outside.get(key, {}) if earlier is not None else {})
                for key, folder in _outside(stage, config).items()
            },
            version=__version__,
        )
    )


def read_record(stage: StageName, run: RunFolder) -> StageRecord | None:
    """The record that `stage` left, None where there is none.

    Raises:
        InputError: the file is no such record.
    """
    path = record_path(stage, run)
    if not path.exists():
        return None
    remedy = f"delete it and run `gensr {stage}` again"
    body = read_json(path, remedy)
    if isinstance(body, dict) and "form" not in body:  # before there were forms; serves on, and is made again
        body |= {"form": 0, "outside": {}, "made": body.get("fingerprint")}
    try:
        return TypeAdapter(StageRecord).validate_python(body)
    except ValidationError:
        raise InputError(path, "expected the record of a finished stage", remedy) from None


def record_path(stage: StageName, run: RunFolder) -> Path:
    """Where `stage` leaves its record."""
    return run.stages / f"{stage}.json"


def finished_record(stage: StageName, config: Config, run: RunFolder) -> StageRecord | None:
    """The record of `stage` if it finished with this config, the same inputs, and its results are still there."""
    record = read_record(stage, run)
    if record is None or not record.finished or _gone(record, run):
        return None
    expected = expected_record(stage, config, run)
    if record.fingerprint != expected.fingerprint:
        return None
    if record.outside != expected.outside:  # files were touched: their contents are not read again next time
        record = dataclasses.replace(record, outside=expected.outside)
        with suppress(OSError):
            write_json(record_path(stage, run), record)
    return record


def check_inputs(stage: StageName, config: Config, run: RunFolder) -> None:
    """Raise InputError, naming the stage to run, unless every input of `stage` is finished and of this config."""
    for name in inputs_of(stage, config):
        if finished_record(name, config, run) is None:
            where = record_path(name, run)
            raise InputError(where, what_differs(name, config, run), f"run `gensr {name}` with this config first")


def what_differs(stage: StageName, config: Config, run: RunFolder) -> str:
    """Why `finished_record` finds none, in a sentence; empty where it finds one."""
    record = read_record(stage, run)
    if record is None:
        return f"stage {stage} has not run in {run.root}"
    if not record.finished:
        return f"stage {stage} was interrupted in {run.root}"
    now = expected_record(stage, config, run)
    for key, value in now.settings.items():
        if key not in record.settings or record.settings[key] != value:
            found = record.settings.get(key, "absent")
            return f"stage {stage} was made with another config: {key} was {found!r}, now {value!r}"
    if record.form != now.form:
        forms = f"{record.version} (form {record.form}), this is {now.version} (form {now.form})"
        return f"stage {stage} was made by gensr_dist {forms}, which gives other results"
    for key in (*record.outside, *now.outside):
        names = differing(record.outside.get(key, {}), now.outside.get(key, {}))
        if names or key not in now.outside:
            return f"stage {stage} was made from other files: {', '.join(names[:3]) or 'those'} of {key} changed since"
    others = [name for name in now.inputs if record.inputs.get(name) != now.inputs[name]]
    if others:
        return f"stage {stage} was made from other results of {', '.join(others)}"
    gone = _gone(record, run)
    return f"{gone}, a result of stage {stage}, is gone" if gone else ""


def check_consistent(stage: StageName, run: RunFolder) -> None:
    """Raise InputError unless the run folder holds `stage` and all it read, each made from the others' present results.

    For serving: needs neither the config file nor the raw log.
    """
    for name in STAGES[1 : STAGES.index(stage) + 1]:
        record, where, remedy = read_record(name, run), record_path(name, run), f"run `gensr {name}` first"
        if not run.root.is_dir():
            raise InputError(run.root, "no such run folder", "give the folder of a finished `gensr run`")
        if record is None or not record.finished:
            raise InputError(where, f"stage {name} has not finished in this run folder", remedy)
        if name != "prepare" and (gone := _gone(record, run)):  # shards may lie elsewhere
            raise InputError(where, f"{gone}, a result of {name}, is gone", remedy.replace("first", "again"))
        for earlier, made in record.inputs.items():
            present = read_record(earlier, run)  # type: ignore[arg-type]
            if earlier != "simulate" and (present is None or present.made != made):
                raise InputError(
                    where, f"{name} was made from other results of {earlier}", remedy.replace("first", "again")
                )


@contextmanager
def locked(run: RunFolder) -> Iterator[None]:
    """Keep other processes from working in the same run folder.

    Raises:
        InputError: another process holds it, or the folder cannot be made.
    """
    try:
        run.root.mkdir(parents=True, exist_ok=True)
        lock = (run.root / ".lock").open("w")
    except OSError as error:
        raise InputError(run.root, f"cannot write there ({error.strerror})", "set `run` to a folder of yours") from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InputError(run.root, "another gensr works in this run folder", "wait for it, or set `run`") from None
        yield


class Recorder:
    """Writes the record of one stage: unfinished on entry, finished by `finish`.

    Bad input that is found before the stage has changed its results leaves the run folder as it was.
    """

    def __init__(self, stage: StageName, config: Config, run: RunFolder) -> None:
        check_inputs(stage, config, run)
        self.run, self.config = run, config
        self.record = expected_record(stage, config, run)
        self.earlier = read_record(stage, run)

    @property
    def resume(self) -> bool:
        """Whether checkpoints are to go on from, where there are any.

        Those of a training that finished with other settings have served. Those of one that was interrupted have not:
        it refuses to go on with other settings, so that a slip does not cost what was trained.
        """
        earlier = self.earlier
        return earlier is None or not earlier.finished or earlier.fingerprint == self.record.fingerprint

    def __enter__(self) -> Self:
        self._replaced = {
            path: path.read_bytes() if path.exists() else None
            for path in (self.run.config, record_path(self.record.stage, self.run))
        }
        self._results = _files_of_results(self.record.stage, self.run)
        with atomic_file(self.run.config) as temporary:
            temporary.write_text(resolved_yaml(self.config), encoding="utf-8")
        write_json(record_path(self.record.stage, self.run), self.record)
        self._started = time.monotonic()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not isinstance(error, InputError) or _files_of_results(self.record.stage, self.run) != self._results:
            return
        for path, content in self._replaced.items():
            if content is None:
                path.unlink(missing_ok=True)
            else:
                with atomic_file(path) as temporary:
                    temporary.write_bytes(content)

    def finish(self, summary: tuple[str, ...], result: Mapping[str, Any]) -> StageRecord:
        """Write the finished record."""
        stage, run = self.record.stage, self.run
        folders = _outside(stage, self.config)
        outside = {key: folders[key].with_digests(states) for key, states in self.record.outside.items()}
        record = _fingerprinted(dataclasses.replace(self.record, outside=outside))
        done = dataclasses.replace(
            record,
            made=_digest_of_shards(run) if stage == "prepare" else record.fingerprint,
            files=tuple(path.relative_to(run.root).as_posix() for path in _present_results(stage, run)),
            finished=True,
            seconds=round(time.monotonic() - self._started, 3),
            summary=summary,
            result=result,
        )
        write_json(record_path(stage, run), done)
        return done


def _fingerprinted(record: StageRecord) -> StageRecord:
    """The record with the fingerprint of what it says."""
    contents = {
        key: [[name, state.size, state.sha256] for name, state in sorted(states.items())]
        for key, states in record.outside.items()
    }
    parts = [record.stage, record.form, record.settings, record.inputs, contents]
    return dataclasses.replace(record, fingerprint=digest(parts))


def _settings(stage: StageName, config: Config) -> dict[str, Any]:
    """Dotted keys whose values `stage` depends on."""
    flat = flattened(config)
    sections: tuple[str, ...] = {
        "simulate": ("simulate.",),
        "prepare": ("data.",),
        "lightgcn": ("lightgcn.",),
        "channels": (),
        "train": ("model.", "train.", *(f"data.{name}" for name in BATCHING)),
        "index": ("retrieval.", "data.history"),
        "evaluate": ("evaluation.", "retrieval.", "data.history"),
    }[stage]
    if stage == "prepare" and config.data.tokenizer == "corpus":
        sections = (*sections, "model.prompts.")  # their words become tokens
    reading = tuple(f"data.{name}" for name in READING if name != "shards")  # shards elsewhere are made elsewhere
    left_out = {"prepare": (*reading, "data.raw")}.get(stage, OPERATIONAL)
    return {k: v for k, v in flat.items() if k == "seed" or (k.startswith(sections) and k not in left_out)}


def _outside(stage: StageName, config: Config) -> Mapping[str, OutsideFolder]:
    """Folders outside the run folder that `stage` reads, by the key that names them."""
    if stage == "prepare":
        return outside_of_prepare(config)
    return outside_of_train(config) if stage == "train" else {}


def _gone(record: StageRecord, run: RunFolder) -> str:
    """A result that was there when the stage finished and is no more; empty where all are."""
    if record.stage == "prepare":
        made = _digest_of_shards(run)
        if made and (made == record.made or not record.form):
            return ""
        return run.shards.where("manifest.json")
    places = [*(run.root / name for name in record.files), *_results_of(record.stage, run)]
    return next((str(path) for path in places if not path.exists()), "")


def _digest_of_shards(run: RunFolder) -> str:
    """The digest in the manifest of the shards; empty without one.

    Raises:
        InputError: the storage cannot be read.
    """
    if "manifest.json" not in run.shards.sizes():
        return ""
    try:
        body = run.shards.read_json("manifest.json", "run `gensr prepare` first")
    except InputError:
        return ""
    return str(body.get("digest", "")) if isinstance(body, dict) else ""


def _results_of(stage: StageName, run: RunFolder) -> tuple[Path, ...]:
    results: dict[StageName, tuple[Path, ...]] = {
        "simulate": (run.raw,),
        "prepare": (),
        "lightgcn": (run.cf / "items.npy", run.cf / "users.npy", run.cf / RECORD),
        "channels": (run.channels,),
        "train": (run.model,),
        "index": (run.index,),
        "evaluate": (run.metrics, run.report),
    }
    return results[stage]


def _present_results(stage: StageName, run: RunFolder) -> list[Path]:
    """Files that `stage` has left in the run folder."""
    more: dict[StageName, tuple[Path, ...]] = {"lightgcn": (run.cf,), "evaluate": (run.ranks,)}
    places = (*_results_of(stage, run), *more.get(stage, ()))
    paths = {path for place in places for path in (place, *place.rglob("*")) if path.is_file()}
    return sorted(path for path in paths if not path.name.startswith("."))


def _files_of_results(stage: StageName, run: RunFolder) -> Mapping[str, Any]:
    """Files that `stage` leaves, with their states: equal only where it has changed nothing."""
    if stage == "prepare":
        return run.shards.sizes()
    places = (*_results_of(stage, run), *((run.checkpoints,) if stage == "train" else ()))
    paths = [path for place in places for path in (place, *place.rglob("*")) if path.exists()]
    return {str(path): (path.stat().st_ino, path.stat().st_mtime_ns) for path in paths}
