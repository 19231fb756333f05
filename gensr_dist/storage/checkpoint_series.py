"""The checkpoints of one training: whole or absent, with checksums, bound to the settings that made them.

    step_00000200/
        ...            tables of the training's own, such as weights
        state.json     how far the training is
        manifest.json  sizes and checksums of the files above

`best_00010` may hold results of the best epoch. One process alone writes.
"""

import logging
import re
import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Literal, TypeVar

from gensr_dist.errors import InputError
from gensr_dist.storage.checked_files import CheckedFiles, record_files
from gensr_dist.storage.durable import durable_folder
from gensr_dist.storage.records import read_record, write_json

LOG = logging.getLogger("gensr_dist.checkpoints")
STATE = "state.json"
MANIFEST = "manifest.json"
_STEP, _BEST = "step_", "best_"
_OURS = re.compile(rf"\.?({_STEP}|{_BEST})\d+")

Settings = Mapping[str, str | int | float | bool]
Progress = TypeVar("Progress")


@dataclass(frozen=True, kw_only=True)
class _Manifest(CheckedFiles):
    format: Literal[1] = 1


@dataclass(frozen=True, kw_only=True)
class CheckpointSeries(Generic[Progress]):
    """Checkpoints in one folder."""

    folder: Path
    tables: Collection[str]  # names of a checkpoint's files besides state and manifest
    progress: type[Progress]  # dataclass of the state
    remedy: str  # how to begin from scratch

    def path(self, steps: int) -> Path:
        """Folder of the checkpoint after so many steps."""
        return self.folder / f"{_STEP}{steps:08d}"

    def path_of_best(self, epoch: int) -> Path:
        """Folder of the results of an epoch."""
        return self.folder / f"{_BEST}{epoch:05d}"

    def finished(self) -> list[Path]:
        """Checkpoints that were written to their end, oldest first."""
        return sorted(path for path in self.folder.glob(f"{_STEP}*") if path.is_dir())

    @contextmanager
    def written(self, steps: int, progress: Progress) -> Iterator[Path]:
        """Yield a folder for the tables; it is a checkpoint on the disk when the block ends well.

        Raises:
            OSError: the disk is full or fails; nothing of the new checkpoint is left then.
        """
        with durable_folder(self.path(steps)) as temporary:
            yield temporary
            write_json(temporary / STATE, progress)
            write_json(temporary / MANIFEST, _Manifest(files=record_files(temporary)))

    def keep_only(self, names: Collection[str]) -> None:
        """Delete all other checkpoints, also what killed processes have left of them."""
        for path in sorted(self.folder.iterdir()):  # hidden ones first
            if path.name in names or not _OURS.match(path.name):
                continue
            if not path.name.startswith("."):  # half of it would look like a checkpoint
                path = path.rename(path.with_name(f".{path.name}.old"))
            shutil.rmtree(path)

    def damage(self, path: Path) -> str | None:
        """What is wrong with the files of a checkpoint, in a few words; None where every checksum is right."""
        try:
            manifest = path / MANIFEST
            contents = read_record(manifest, _Manifest, "a checkpoint", missing=self.remedy, wrong=self.remedy)
            contents.require(manifest, [*self.tables, STATE], self.remedy)
        except InputError as error:
            return f"{Path(error.where).name}: {error.problem}"
        return None

    def newest_whole(self) -> Path | None:
        """The newest checkpoint whose checksums are right; None where there are none at all.

        Each damaged one that is passed over is logged in one line.

        Raises:
            InputError: there are some, and all are damaged.
        """
        finished = self.finished()
        for path in reversed(finished):
            damage = self.damage(path)
            if damage is None:
                return path
            LOG.warning(f"checkpoint {path.name} is damaged ({damage}): going back to the one before it")
        if finished:
            problem = f"none of its {len(finished)} checkpoints is whole: in {finished[-1].name}, "
            problem += str(self.damage(finished[-1]))
            raise InputError(self.folder, problem, f"restore one of them, or {self.remedy}")
        return None

    def read(self, path: Path) -> Progress:
        """How far a training was, from a checkpoint or from a state file.

        Raises:
            InputError: it was written by another version, or cannot be read.
        """
        state = path / STATE if path.is_dir() else path
        return read_record(state, self.progress, "a checkpoint of this version", missing=self.remedy, wrong=self.remedy)


def check_same_settings(path: Path, found: Settings, expected: Settings, remedy: str) -> None:
    """Refuse a checkpoint that another training made.

    Args:
        path: of the checkpoint.
        found: what it was made with.
        expected: the settings of now.
        remedy: what to do otherwise.

    Raises:
        InputError: they differ; names the first three that do.
    """
    names = [name for name in sorted({*found, *expected}) if found.get(name) != expected.get(name)]
    if names:
        shown = ", ".join(f"{name} was {found.get(name)} and is {expected.get(name)}" for name in names[:3])
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        raise InputError(path, f"the checkpoint belongs to other settings or data: {shown}{more}", remedy)
