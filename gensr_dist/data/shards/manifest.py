"""What a shard folder must hold: the table of contents that makes damage visible."""

import dataclasses
import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path

from typing_extensions import Self

from gensr_dist.data.config import DataConfig
from gensr_dist.data.events import Behaviour
from gensr_dist.errors import InputError
from gensr_dist.storage.checked_files import REMEDY, CheckedFiles, FileRecord, sha256_of_file
from gensr_dist.storage.folder import Folder
from gensr_dist.storage.records import parse_record, write_json

SCHEMA_VERSION = 2
_SHARD_NAME = re.compile(r"shard-\d+\.tar", re.ASCII)
_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
_FILE_NAME = re.compile(r"(items|tokenizer)/[\w-][\w.-]*", re.ASCII)
_MOST_ITEMS, _MOST_QUERIES = 1 << 32, 1 << 31  # what the shards' uint32 and int32 can number
TOKENIZER = "tokenizer/tokenizer.json"


@dataclass(frozen=True, kw_only=True)
class ShardRecord(FileRecord):
    """One tar."""

    first_user: int
    samples: int  # blocks of users
    users: int
    events: int
    training_rows: int
    evaluation_rows: int
    interactions: int  # entries of the users' histories: positive events, the two of one interaction counted once


@dataclass(frozen=True, kw_only=True)
class SplitCounts:
    """Positive events of one task by split."""

    train: int
    valid: int
    test: int


@dataclass(frozen=True, kw_only=True)
class Manifest(CheckedFiles):
    """Contents of a shard folder, written after everything that it lists; `files` are those besides the shards."""

    schema_version: int
    seed: int
    config: DataConfig  # as `DataConfig.as_prepared` gives it
    users: int
    items: int
    queries: int
    events: int
    recommendation: SplitCounts
    search: SplitCounts
    vocabulary: str  # SHA-256 of tokenizer/tokenizer.json
    shards: tuple[ShardRecord, ...]  # in user order

    def counts(self, task: Behaviour) -> SplitCounts:
        """Of one task."""
        return self.recommendation if task == Behaviour.RECOMMENDATION else self.search

    def write(self, folder: Path) -> None:
        """Write `manifest.json` with a digest of itself."""
        body = dataclasses.asdict(self)
        write_json(folder / "manifest.json", {**body, "digest": _digest(body)})

    @classmethod
    def read(cls, folder: Folder) -> Self:
        """Read and check `manifest.json`.

        Raises:
            InputError: it is missing, not JSON, of another schema version, or was edited.
        """
        path = folder.where("manifest.json")
        body = folder.read_json("manifest.json", "run `gensr prepare` first")
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
        manifest = parse_record(body, path, cls, "shards", REMEDY)
        contradiction = manifest._contradiction()
        if contradiction:
            raise InputError(path, f"expected a valid manifest, {contradiction}", REMEDY)
        return manifest

    def _contradiction(self) -> str:
        """What is wrong with a manifest of the right form; empty if nothing is."""
        if not self.shards:
            return "it lists no shard"
        users = 0
        for shard in self.shards:
            if min(value for value in dataclasses.astuple(shard) if isinstance(value, int)) < 0:
                return f"{shard.name} has a negative count"
            if max(shard.users, shard.events, shard.training_rows, shard.interactions) > shard.bytes:
                return f"{shard.name} counts more than its {shard.bytes} bytes can hold"
            if shard.first_user != users:
                return f"{shard.name} begins at user {shard.first_user} instead of {users}"
            users += shard.users
            if not _SHARD_NAME.fullmatch(shard.name):
                return f"{shard.name!r} is no name of a shard"
        if len({shard.name for shard in self.shards}) != len(self.shards):
            return "it lists a shard twice"
        if not self.config.eval_negatives <= self.items <= _MOST_ITEMS or self.queries > _MOST_QUERIES:
            counts = f"{self.items} items, {self.queries} queries and {self.config.eval_negatives} negatives"
            return f"{counts} do not go together"
        if len({file.name for file in self.files}) != len(self.files):
            return "it lists a file twice"
        for file in self.files:
            if not _FILE_NAME.fullmatch(file.name):
                return f"{file.name!r} is no name of a file in items/ or tokenizer/"
        for record in (*self.shards, *self.files):  # it names a copy in the cache
            if not _SHA256.fullmatch(record.sha256):
                return f"the checksum of {record.name} is no SHA-256"
        if self.vocabulary not in (file.sha256 for file in self.files if file.name == TOKENIZER):
            return f"{TOKENIZER} is not listed with the vocabulary's checksum"
        for name, total in (("users", self.users), ("events", self.events)):
            if sum(getattr(shard, name) for shard in self.shards) != total:
                return f"its shards do not add up to {total} {name}"
        return ""


def may_hold(name: str) -> bool:
    """Whether a shard folder may hold a file of this name; shards that its manifest does not list are left-overs."""
    return name == "manifest.json" or bool(_SHARD_NAME.fullmatch(name) or _FILE_NAME.fullmatch(name))


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
