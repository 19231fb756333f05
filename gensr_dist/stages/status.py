"""Which stages of a run are finished, and why the others are not: fingerprints against records."""

import dataclasses
from collections.abc import Mapping
from contextlib import suppress

from gensr_dist import __version__
from gensr_dist.config.root import Config
from gensr_dist.errors import InputError
from gensr_dist.runs.folder import RunFolder
from gensr_dist.runs.outside_files import FileStates, differing
from gensr_dist.runs.records import StageRecord, read_record, record_path
from gensr_dist.stages.order import BY_NAME
from gensr_dist.stages.stage import Stage
from gensr_dist.storage.records import digest, write_json


class RunStatus:
    """What a run folder holds of a config, asked as often as needed.

    Files outside the run folder are looked at once a command: a log in an object store is listed for that.

    Args:
        config: of the command.
        run: its folder, which nobody else changes meanwhile (see `runs.records.locked`).
    """

    def __init__(self, config: Config, run: RunFolder) -> None:
        self.config, self.run = config, run
        self._outside: dict[str, Mapping[str, FileStates]] = {}
        self._unseen: dict[str, str] = {}

    def expected(self, stage: Stage) -> StageRecord:
        """The unfinished record of a stage with this config, the present results of earlier stages and what now lies
        outside the run folder.

        Files that have gone since the stage ran (a log that was not copied to the training machine) count as unchanged.
        """
        inputs = {name: read_record(name, self.run) for name in stage.needs(self.config)}
        return fingerprinted(
            StageRecord(
                stage=stage.name,
                fingerprint="",
                form=stage.form,
                settings=stage.settings(self.config),
                inputs={name: record.made if record is not None else "" for name, record in inputs.items()},
                outside=self._outside_of(stage),
                version=__version__,
            )
        )

    def finished(self, stage: Stage) -> StageRecord | None:
        """The record of a stage that finished with this config and the same inputs, its results still there."""
        record = read_record(stage.name, self.run)
        if record is None or not record.finished or stage.lost(record, self.run):
            return None
        expected = self.expected(stage)
        if record.fingerprint != expected.fingerprint:
            return None
        if record.outside != expected.outside:  # files were touched: their contents are not read again next time
            record = dataclasses.replace(record, outside=expected.outside)
            with suppress(OSError):
                write_json(record_path(stage.name, self.run), record)
        return record

    def note(self, record: StageRecord) -> None:
        """Take over what a stage that has just finished found outside: its digests are not computed twice."""
        self._outside[record.stage] = record.outside

    def unseen(self, stage: Stage) -> str:
        """Which files outside count as unchanged since none of them is there, for people; empty where all were seen."""
        self._outside_of(stage)
        return self._unseen.get(stage.name, "")

    def check_inputs(self, stage: Stage) -> None:
        """Raise InputError, naming the stage to run, unless all that a stage needs is finished and of this config."""
        for name in stage.needs(self.config):
            if self.finished(BY_NAME[name]) is None:
                remedy = f"run `gensr {name}` with this config first"
                raise InputError(record_path(name, self.run), self.difference(BY_NAME[name]), remedy)

    def difference(self, stage: Stage) -> str:
        """Why `finished` finds none, in a sentence; empty where it finds one."""
        record, run = read_record(stage.name, self.run), self.run
        if record is None:
            return f"stage {stage.name} has not run in {run.root}"
        if not record.finished:
            return f"stage {stage.name} was interrupted in {run.root}"
        now = self.expected(stage)
        for key, value in now.settings.items():
            if key not in record.settings or record.settings[key] != value:
                found = record.settings.get(key, "absent")
                return f"stage {stage.name} was made with another config: {key} was {found!r}, now {value!r}"
        if record.form != now.form:
            forms = f"{record.version} (form {record.form}), this is {now.version} (form {now.form})"
            return f"stage {stage.name} was made by gensr_dist {forms}, which gives other results"
        for key in (*record.outside, *now.outside):
            names = differing(record.outside.get(key, {}), now.outside.get(key, {}))
            if names or key not in now.outside:
                changed = ", ".join(names[:3]) or "those"
                return f"stage {stage.name} was made from other files: {changed} of {key} changed since"
        others = [name for name in now.inputs if record.inputs.get(name) != now.inputs[name]]
        if others:
            return f"stage {stage.name} was made from other results of {', '.join(others)}"
        return stage.lost(record, run)

    def _outside_of(self, stage: Stage) -> Mapping[str, FileStates]:
        if stage.name not in self._outside:
            earlier = read_record(stage.name, self.run)
            known = earlier.outside if earlier is not None else {}
            folders = stage.outside(self.config)
            found = {key: folder.states(known.get(key, {})) for key, folder in folders.items()}
            absent = [key for key, states in found.items() if states and states is known.get(key)]
            places = [f"no files at {key} {folders[key].place}".rstrip() for key in absent]
            self._outside[stage.name] = found
            self._unseen[stage.name] = f"{', '.join(places)}: taken as unchanged" if places else ""
        return self._outside[stage.name]


def fingerprinted(record: StageRecord) -> StageRecord:
    """The record with the fingerprint of what it says."""
    contents = {
        key: [[name, state.size, state.sha256] for name, state in sorted(states.items())]
        for key, states in record.outside.items()
    }
    parts = [record.stage, record.form, record.settings, record.inputs, contents]
    return dataclasses.replace(record, fingerprint=digest(parts))
