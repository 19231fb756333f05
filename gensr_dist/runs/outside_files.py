"""Files from outside the run folder that a stage reads, and whether their contents are still what they were.

Only files that are read count: a note beside a log's tables, or a run folder below them, changes nothing. Size and time
of change are a quick test that a digest is still right; a file that was touched or copied is read again, and counts as
unchanged if its content is the same. A log is first read whole for its digest when it has been prepared well.
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import TypeAlias

from gensr_dist.data.config import DataConfig
from gensr_dist.model.config import ModelConfig
from gensr_dist.storage.checked_files import sha256_of_file
from gensr_dist.storage.folder import Folder

_TOKENIZER_FILES = (
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "config.json"),
    *("spiece.model", "tokenizer.model", "vocab.txt", "vocab.json", "merges.txt", "chat_template.jinja"),
)
_BACKBONE_FILES = (
    *("config.json", "generation_config.json", "model*.safetensors", "pytorch_model*.bin"),
    *("model.safetensors.index.json", "pytorch_model.bin.index.json"),
)


@dataclass(frozen=True, kw_only=True)
class FileState:
    """What is known of a file."""

    size: int
    changed: int = 0  # ctime in ns, which no program can set; 0 of a remote file
    sha256: str = ""  # of its content; empty of a remote file, and where nobody has asked yet


FileStates: TypeAlias = Mapping[str, FileState]  # by name below their folder


@dataclass(frozen=True)
class OutsideFolder:
    """A folder or URL, and the names or patterns of the files that are read there."""

    place: str
    patterns: tuple[str, ...]

    def states(self, earlier: FileStates) -> FileStates:
        """Files as they are now; `earlier` itself where none is there, as on a machine that never had the log.

        Args:
            earlier: as a stage found them. Only a file of the same size has its content read for comparison.
        """
        found = self._found()
        if not found:
            return earlier
        return {name: self._state(name, size, earlier.get(name)) for name, size in sorted(found.items())}

    def with_digests(self, states: FileStates) -> FileStates:
        """The states with the digests that they lack; one whose file has changed since lacks it forever."""
        complete = {}
        for name, state in states.items():
            path = self._path(name)
            if path is not None and not state.sha256 and _quick(path) == (state.size, state.changed):
                state = dataclasses.replace(state, sha256=_digest(path, state.size, state.changed))
            complete[name] = state
        return complete

    def _state(self, name: str, size: int, before: FileState | None) -> FileState:
        path = self._path(name)
        if path is None:
            return FileState(size=size)
        size, changed = _quick(path)
        if before is None or before.size != size:
            return FileState(size=size, changed=changed)
        if before.changed == changed:
            return before
        return FileState(size=size, changed=changed, sha256=_digest(path, size, changed))

    def _found(self) -> Mapping[str, int]:
        if not self.place:
            return {}
        folder = Folder.at(self.place)
        if folder.local is not None and not any("*" in pattern for pattern in self.patterns):
            paths = {pattern: folder.local / pattern for pattern in self.patterns}  # a large folder is not listed
            return {name: path.stat().st_size for name, path in paths.items() if path.is_file()}
        sizes = folder.sizes()
        return {name: sizes[name] for name in sizes if any(fnmatch(name, pattern) for pattern in self.patterns)}

    def _path(self, name: str) -> Path | None:
        local = Folder.at(self.place).local
        return local / name if local is not None else None


def log_folder(config: DataConfig) -> Mapping[str, OutsideFolder]:
    """The raw log, by the key that names its folder; none where it is simulated."""
    from gensr_dist.data.sources import SOURCES

    return {} if config.source == "simulate" else {"data.raw": OutsideFolder(config.raw, SOURCES[config.source].FILES)}


def tokenizer_folder(config: DataConfig) -> Mapping[str, OutsideFolder]:
    """The tokenizer, if it lies in a folder; Hub names are no files."""
    return (
        {"data.tokenizer": OutsideFolder(config.tokenizer, _TOKENIZER_FILES)} if Path(config.tokenizer).is_dir() else {}
    )


def backbone_folder(config: ModelConfig) -> Mapping[str, OutsideFolder]:
    """The backbone, if it lies in a folder."""
    return {"model.backbone": OutsideFolder(config.backbone, _BACKBONE_FILES)} if Path(config.backbone).is_dir() else {}


def differing(before: FileStates, now: FileStates) -> Sequence[str]:
    """Names of the files that came, went or have another content."""

    def content(states: FileStates, name: str) -> tuple[int, str] | None:
        return (states[name].size, states[name].sha256) if name in states else None

    return [name for name in sorted({*before, *now}) if content(before, name) != content(now, name)]


def _quick(path: Path) -> tuple[int, int]:
    """Size and time of change of a file; zeros where it is gone."""
    try:
        status = path.stat()
    except OSError:
        return 0, 0
    return status.st_size, status.st_ctime_ns


@functools.lru_cache(maxsize=4_096)
def _digest(path: Path, size: int, changed: int) -> str:
    """SHA-256 of a file, read once for all questions of a command."""
    return sha256_of_file(path)
