"""One checkpoint on disk: a folder of safetensors and JSON, with the size and SHA-256 of every file.

    weights.safetensors     fp32 weights by parameter name
    exp_avg.safetensors     AdamW's first moment
    exp_avg_sq.safetensors  its second
    state.json              how far the run is
    manifest.json           sizes and checksums of the files above

A folder appears under its name when all of it is on the disk.
"""

import os
import shutil
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from gensr_dist.data.shards.manifest import FileRecord, record_files, sha256_of_file
from gensr_dist.errors import InputError
from gensr_dist.storage.durable import give_usual_mode
from gensr_dist.storage.output_errors import numbered_errors
from gensr_dist.storage.records import read_json, write_json
from gensr_dist.train.state import PARTS, Part, State

STATE = "state.json"
MANIFEST = "manifest.json"
_TENSORS = {part: f"{part}.safetensors" for part in PARTS}
_CHECKED = {*_TENSORS.values(), STATE}


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What the files of a checkpoint must be like."""

    format: Literal[1] = 1
    files: tuple[FileRecord, ...]


def write_checkpoint(path: Path, state: State, progress: Any) -> None:
    """Write a checkpoint; one of the same name is replaced. It is on the disk on return.

    Args:
        path: of the folder.
        state: of training.
        progress: dataclass for `state.json`.

    Raises:
        OSError: the disk is full or fails; nothing of the new checkpoint is left then.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    for left in (*path.parent.glob(".*.tmp"), *path.parent.glob(".*.old")):  # by killed processes
        shutil.rmtree(left, ignore_errors=True)
    temporary = path.with_name(f".{path.name}.tmp")
    replaced = path.with_name(f".{path.name}.old")
    temporary.mkdir()
    try:
        with numbered_errors(path):
            for part, name in _TENSORS.items():
                save_file(dict(state[part]), temporary / name)
        give_usual_mode(temporary)
        write_json(temporary / STATE, progress)
        for name in _CHECKED:
            sync(temporary / name)
        write_json(
            temporary / MANIFEST, Manifest(files=record_files(temporary, (temporary / name for name in _CHECKED)))
        )
        sync(temporary)
        if path.exists():
            path.rename(replaced)
        temporary.rename(path)
        sync(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(replaced, ignore_errors=True)


def damage_of(path: Path) -> str | None:
    """What is wrong with the files of a checkpoint, in a few words; None where every checksum is right."""
    try:
        manifest = TypeAdapter(Manifest).validate_python(read_json(path / MANIFEST, "see above"))
    except InputError as error:
        return f"{MANIFEST}: {error.problem}"
    except ValidationError:
        return f"{MANIFEST} is not one of this format"
    if {record.name for record in manifest.files} != _CHECKED:
        return f"{MANIFEST} names other files"
    return next(filter(None, (_damage_of_file(path, record) for record in manifest.files)), None)


class TensorReader:
    """Reads the tensors of a checkpoint one by one.

    Args:
        path: of a folder whose checksums are right.
    """

    def __init__(self, path: Path) -> None:
        self._stack = ExitStack()
        self._files = {
            part: self._stack.enter_context(safe_open(path / name, framework="pt")) for part, name in _TENSORS.items()
        }

    def __call__(self, part: Part, name: str) -> Tensor:
        """A tensor, on the CPU."""
        return self._files[part].get_tensor(name)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each parameter by name."""
        weights = self._files["weights"]
        return {name: tuple(weights.get_slice(name).get_shape()) for name in weights.keys()}  # noqa: SIM118

    def close(self) -> None:
        """Release the files."""
        self._stack.close()


def _damage_of_file(path: Path, record: FileRecord) -> str | None:
    file = path / record.name
    try:
        size = file.stat().st_size
        if size != record.bytes:
            return f"{record.name} has {size:,} bytes instead of {record.bytes:,}"
        return None if sha256_of_file(file) == record.sha256 else f"{record.name} has another checksum"
    except OSError as error:
        return f"{record.name} cannot be read: {error.strerror}"


def sync(path: Path) -> None:
    """Make what was written into a file, or renamed inside a folder, last through a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
