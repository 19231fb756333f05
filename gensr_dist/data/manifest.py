"""What a shard folder must hold: the table of contents that makes damage visible."""

import dataclasses
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError
from typing_extensions import Self

from gensr_dist.data.config import DataConfig
from gensr_dist.errors import InputError
from gensr_dist.files import read_json, write_json

SCHEMA_VERSION = 1
REMEDY = "run `gensr prepare` again, or copy the folder again from where it was whole"


@dataclass(frozen=True, kw_only=True)
class ShardRecord:
    """One tar."""

    name: str
    samples: int  # blocks of users
    users: int
    events: int
    evaluation_rows: int
    bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class FileRecord:
    """One file of the item store or the tokenizer."""

    name: str  # relative to the shard folder, with forward slashes
    bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class TaskCounts:
    """Positive events of one task by split."""

    train: int
    valid: int
    test: int


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """Contents of a shard folder, written after everything that it lists."""

    schema_version: int
    seed: int
    config: DataConfig  # `raw` holds the folder's name only
    users: int
    items: int
    queries: int
    events: int
    recommendation: TaskCounts
    search: TaskCounts
    vocabulary: str  # SHA-256 of tokenizer/tokenizer.json
    shards: tuple[ShardRecord, ...]  # in user order
    files: tuple[FileRecord, ...]

    def write(self, folder: Path) -> None:
        """Write `manifest.json` with a digest of itself."""
        body = dataclasses.asdict(self)
        write_json(folder / "manifest.json", {**body, "digest": _digest(body)})

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read and check `manifest.json`.

        Raises:
            InputError: it is missing, not JSON, of another schema version, or was edited.
        """
        path = folder / "manifest.json"
        body = read_json(path, "run `gensr prepare` first")
        if not isinstance(body, dict) or "digest" not in body:
            raise InputError(path, "expected a manifest with a digest", REMEDY)
        digest = body.pop("digest")
        if body.get("schema_version") != SCHEMA_VERSION:
            raise InputError(
                path,
                f"expected schema version {SCHEMA_VERSION}, found {body.get('schema_version')}",
                "run `gensr prepare` again with this version of gensr_dist",
            )
        if digest != _digest(body):
            raise InputError(path, "the manifest was edited: its digest does not match its contents", REMEDY)
        try:
            return TypeAdapter(cls).validate_python(body)
        except ValidationError as error:
            fault = error.errors()[0]
            place = ".".join(str(part) for part in fault["loc"])
            raise InputError(path, f"expected a valid manifest, {place}: {fault['msg']}", REMEDY) from None


def sha256_of_file(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def record_files(folder: Path, paths: Iterable[Path]) -> tuple[FileRecord, ...]:
    """Describe files below `folder`, in order of their names."""
    return tuple(
        FileRecord(name=path.relative_to(folder).as_posix(), bytes=path.stat().st_size, sha256=sha256_of_file(path))
        for path in sorted(paths)
    )


def vocabulary_fingerprint(folder: Path) -> str:
    """SHA-256 of a saved tokenizer.

    Raises:
        InputError: the folder holds none.
    """
    if not (folder / "tokenizer.json").is_file():
        raise InputError(folder / "tokenizer.json", "the file does not exist", REMEDY)
    return sha256_of_file(folder / "tokenizer.json")


def _digest(body: dict[str, object]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
