"""What each stage depends on, and the record it leaves in the run folder, so that unchanged work is not done again."""

import dataclasses
import fcntl
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, TypeAlias, get_args

from pydantic import TypeAdapter, ValidationError
from typing_extensions import Self

from gensr_dist import __version__
from gensr_dist.config import Config, digest, flattened, resolved_yaml
from gensr_dist.data.config import BATCHING, READING
from gensr_dist.data.storage.folder import Folder
from gensr_dist.errors import InputError
from gensr_dist.files import atomic_file, read_json, write_json
from gensr_dist.graph.cf_files import RECORD, table_name
from gensr_dist.run_folder import RunFolder
from gensr_dist.train.config import OPERATIONAL

StageName: TypeAlias = Literal["simulate", "prepare", "lightgcn", "channels", "train", "index", "evaluate"]
STAGES: tuple[StageName, ...] = get_args(StageName)  # in the order of the data


@dataclass(frozen=True, kw_only=True)
class StageRecord:
    """`stages/NAME.json` of a run folder. A record that is not finished belongs to a stage that was interrupted."""

    stage: StageName
    fingerprint: str  # SHA-256 of everything below up to `version`
    settings: Mapping[str, Any]  # dotted keys
    inputs: Mapping[str, str]  # fingerprint of each stage whose results it read
    outside: Mapping[str, str]  # digest of names, sizes and times of the files it read from outside the run folder
    version: str  # of gensr_dist
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
    """The unfinished record that `stage` has with this config and what now lies outside the run folder.

    Files that have gone since the stage ran (a log that was not copied to the training machine) count as unchanged.
    """
    earlier = read_record(stage, run)
    outside = {
        key: _state(place, earlier.outside.get(key, "absent") if earlier else "absent")
        for key, place in _outside(stage, config).items()
    }
    inputs: dict[str, str] = {name: expected_record(name, config, run).fingerprint for name in inputs_of(stage, config)}
    settings = _settings(stage, config)
    return StageRecord(
        stage=stage,
        fingerprint=digest([stage, settings, inputs, outside, __version__]),
        settings=settings,
        inputs=inputs,
        outside=outside,
        version=__version__,
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
    try:
        return TypeAdapter(StageRecord).validate_python(read_json(path, remedy))
    except ValidationError:
        raise InputError(path, "expected the record of a finished stage", remedy) from None


def record_path(stage: StageName, run: RunFolder) -> Path:
    """Where `stage` leaves its record."""
    return run.stages / f"{stage}.json"


def finished_record(stage: StageName, config: Config, run: RunFolder) -> StageRecord | None:
    """The record of `stage` if it finished with this config, the same inputs, and its results are still there."""
    record = read_record(stage, run)
    if record is None or not record.finished or not _results_exist(stage, run):
        return None
    return record if record.fingerprint == expected_record(stage, config, run).fingerprint else None


def check_inputs(stage: StageName, config: Config, run: RunFolder) -> None:
    """Raise InputError, naming the stage to run, unless every input of `stage` is finished and of this config."""
    for name in inputs_of(stage, config):
        if finished_record(name, config, run) is None:
            where = record_path(name, run)
            raise InputError(where, _what_differs(name, config, run), f"run `gensr {name}` with this config first")


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
        for earlier, fingerprint in record.inputs.items():
            present = read_record(earlier, run)  # type: ignore[arg-type]
            if earlier != "simulate" and (present is None or present.fingerprint != fingerprint):
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
        seconds = round(time.monotonic() - self._started, 3)
        done = dataclasses.replace(self.record, finished=True, seconds=seconds, summary=summary, result=result)
        write_json(record_path(done.stage, self.run), done)
        return done


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


def _outside(stage: StageName, config: Config) -> dict[str, str]:
    """Files outside the run folder that `stage` reads, by the key that names them; Hub names are no files."""
    if stage == "train":
        return {"model.backbone": config.model.backbone} if Path(config.model.backbone).is_dir() else {}
    if stage != "prepare":
        return {}
    paths = {} if config.data.source == "simulate" else {"data.raw": config.data.raw}
    return paths | ({"data.tokenizer": config.data.tokenizer} if Path(config.data.tokenizer).is_dir() else {})


def _state(place: str, earlier: str) -> str:
    """Digest of names, sizes and, for local files, times; `earlier` where nothing is there any more."""
    if "://" in place:
        return digest(Folder.at(place).sizes())
    path = Path(place)
    if not place or not path.exists():
        return earlier
    files = [path] if path.is_file() else sorted(found for found in path.rglob("*") if found.is_file())
    return digest([[str(f.relative_to(path)), f.stat().st_size, f.stat().st_mtime_ns] for f in files])


def _results_exist(stage: StageName, run: RunFolder) -> bool:
    """Whether the files are there without which `stage` is not finished, whatever its record says."""
    if stage == "prepare":
        return "manifest.json" in run.shards.sizes()
    results = _results_of(stage, run)
    if stage == "lightgcn":
        record = read_record(stage, run)
        folds = int(record.settings.get("lightgcn.folds", 0)) if record else 0
        results = (*results, *(run.cf / table_name(fold) for fold in range(folds)))
    return all(path.exists() for path in results)


def _results_of(stage: StageName, run: RunFolder) -> tuple[Path, ...]:
    results: dict[StageName, tuple[Path, ...]] = {
        "simulate": (run.raw,),
        "lightgcn": (run.cf / "items.npy", run.cf / "users.npy", run.cf / RECORD),
        "channels": (run.channels,),
        "train": (run.model,),
        "index": (run.index,),
        "evaluate": (run.metrics, run.report),
    }
    return results[stage]


def _files_of_results(stage: StageName, run: RunFolder) -> Mapping[str, Any]:
    """Files that `stage` leaves, with their states: equal only where it has changed nothing."""
    if stage == "prepare":
        return run.shards.sizes()
    places = (*_results_of(stage, run), *((run.checkpoints,) if stage == "train" else ()))
    paths = [path for place in places for path in (place, *place.rglob("*")) if path.exists()]
    return {str(path): (path.stat().st_ino, path.stat().st_mtime_ns) for path in paths}


def _what_differs(stage: StageName, config: Config, run: RunFolder) -> str:
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
    if record.outside != now.outside:
        return f"stage {stage} was made from other files: {', '.join(now.outside)} changed since"
    if record.version != now.version:
        return f"stage {stage} was made by gensr_dist {record.version}, this is {now.version}"
    if record.inputs != now.inputs:
        return f"stage {stage} was made from other results of {', '.join(record.inputs)}"
    return f"results of stage {stage} are missing in {run.root}"
