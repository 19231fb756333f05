"""The record of a stage while it runs: unfinished on entry, finished by `finish`."""

import dataclasses
import time
from pathlib import Path
from types import TracebackType

from typing_extensions import Self

from gensr_dist.config.root import Config, resolved_yaml
from gensr_dist.errors import InputError
from gensr_dist.runs.folder import RunFolder
from gensr_dist.runs.records import StageRecord, read_record, record_path
from gensr_dist.stages.stage import Outcome, Stage
from gensr_dist.stages.status import RunStatus, fingerprinted
from gensr_dist.storage.checked_files import record_files
from gensr_dist.storage.durable import durable_file
from gensr_dist.storage.records import write_json


def write_config(config: Config, run: RunFolder) -> None:
    """Leave the resolved config in the run folder."""
    with durable_file(run.config) as temporary:
        temporary.write_text(resolved_yaml(config), encoding="utf-8")


class Recorder:
    """Bad input that is found before the stage has changed its results leaves the run folder as it was.

    So does whatever else ends it by then, where it had finished before: a slip that is stopped at once costs nothing.

    Args:
        stage: that begins.
        status: of its run.

    Raises:
        InputError: a stage that it needs is not finished.
    """

    def __init__(self, stage: Stage, status: RunStatus) -> None:
        status.check_inputs(stage)
        self.stage, self.status, self.run, self.config = stage, status, status.run, status.config
        self.record = status.expected(stage)
        self.earlier = read_record(stage.name, status.run)

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
            for path in (self.run.config, record_path(self.stage.name, self.run))
        }
        self._remove_damaged()
        self._before = self.stage.states(self.run)
        write_config(self.config, self.run)
        write_json(record_path(self.stage.name, self.run), self.record)
        self._started = time.monotonic()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        had_finished = self.earlier is not None and self.earlier.finished
        if error is None or not (isinstance(error, InputError) or had_finished):
            return
        if self.stage.states(self.run) != self._before:
            return
        for path, content in self._replaced.items():
            if content is None:
                path.unlink(missing_ok=True)
            else:
                with durable_file(path) as temporary:
                    temporary.write_bytes(content)

    def _remove_damaged(self) -> None:
        """A training that goes on from its checkpoints makes again what is gone, not what is there."""
        for file in self.earlier.contents if self.earlier is not None else ():
            path = self.run.root / file.name
            if path.is_file() and file.damage(path) is not None:
                path.unlink()

    def finish(self, outcome: Outcome) -> StageRecord:
        """Write the finished record."""
        folders = self.stage.outside(self.config)
        outside = {key: folders[key].with_digests(states) for key, states in self.record.outside.items()}
        record = fingerprinted(dataclasses.replace(self.record, outside=outside))
        done = dataclasses.replace(
            record,
            made=self.stage.made(record, self.run),
            contents=record_files(self.run.root, self._files()),
            finished=True,
            seconds=round(time.monotonic() - self._started, 3),
            summary=outcome.summary,
            result=outcome.result,
        )
        write_json(record_path(self.stage.name, self.run), done)
        self.status.note(done)
        return done

    def _files(self) -> set[Path]:
        """What the stage has left."""
        places = self.stage.results(self.run)
        paths = {path for place in places for path in (place, *place.rglob("*")) if path.is_file()}
        return {path for path in paths if not path.name.startswith(".")}
