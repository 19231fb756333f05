"""Is a shard folder whole? Every kind of damage has its own message."""

import hashlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gensr_dist.data.manifest import REMEDY, FileRecord, Manifest, ShardRecord, sha256_of_file, vocabulary_fingerprint
from gensr_dist.data.shards import read_shard
from gensr_dist.errors import InputError
from gensr_dist.files import read_json


@dataclass(frozen=True, kw_only=True)
class VerifyReport:
    """What was found whole."""

    shards: int
    samples: int
    users: int
    events: int
    evaluation_rows: int
    files: int
    bytes: int
    seconds: float


def verify(folder: Path) -> VerifyReport:
    """Check the manifest, every shard's name, order, size, checksum and arrays, the item store and the tokenizer.

    Raises:
        InputError: the first fault found.
    """
    began = time.monotonic()
    manifest = Manifest.read(folder)
    check_item_store(folder, manifest)
    events = rows = samples = 0
    for record, content in checked_shards(folder, manifest):
        for block in read_shard(content, folder / record.name):
            samples += 1
            events += len(block.item)
            rows += len(block.eval_event)
    if (samples, events) != (sum(shard.samples for shard in manifest.shards), manifest.events):
        raise InputError(folder, f"the shards hold {events} events, the manifest says {manifest.events}", REMEDY)
    return VerifyReport(
        shards=len(manifest.shards),
        samples=samples,
        users=manifest.users,
        events=events,
        evaluation_rows=rows,
        files=len(manifest.files),
        bytes=sum(shard.bytes for shard in manifest.shards) + sum(file.bytes for file in manifest.files),
        seconds=time.monotonic() - began,
    )


def checked_shards(folder: Path, manifest: Manifest) -> Iterator[tuple[ShardRecord, bytes]]:
    """Yield each shard's bytes once they are known to be what the manifest lists.

    Raises:
        InputError: a shard is missing, extra, out of place, cut short or changed.
    """
    listed = {record.name for record in manifest.shards}
    found = {path.name for path in folder.glob("*.tar")}
    for name in sorted(listed - found):
        raise InputError(folder / name, "the manifest lists this shard, but it is missing", REMEDY)
    for name in sorted(found - listed):
        raise InputError(
            folder / name, "the manifest does not list this shard", "delete it, or run `gensr prepare` again"
        )
    owner = {record.sha256: record.name for record in manifest.shards}
    for record in manifest.shards:
        path = folder / record.name
        content = path.read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        if digest != record.sha256:
            if digest in owner:
                raise InputError(path, f"shards are out of order: it holds the contents of {owner[digest]}", REMEDY)
            raise _damaged(path, len(content), record.bytes)
        yield record, content


def check_item_store(folder: Path, manifest: Manifest) -> None:
    """Check the files that the manifest lists beside the shards.

    Raises:
        InputError: the item store was made with another vocabulary, or a file is missing, cut short or changed.
    """
    store = folder / "items" / "vocabulary.json"
    tokenised_with = read_json(store, REMEDY)
    if tokenised_with != manifest.vocabulary:
        raise InputError(
            store,
            f"the item store was tokenised with vocabulary {str(tokenised_with)[:12]}, the manifest says "
            f"{manifest.vocabulary[:12]}",
            "use the item store that was made with these shards, or run `gensr prepare` again",
        )
    tokenizer = vocabulary_fingerprint(folder / "tokenizer")
    if tokenizer != manifest.vocabulary:
        raise InputError(
            folder / "tokenizer" / "tokenizer.json",
            f"the tokenizer has vocabulary {tokenizer[:12]}, the manifest says {manifest.vocabulary[:12]}",
            "use the tokenizer that was made with these shards, or run `gensr prepare` again",
        )
    for record in manifest.files:
        _check_file(folder, record)


def _check_file(folder: Path, record: FileRecord) -> None:
    path = folder / record.name
    if not path.is_file():
        raise InputError(path, "the manifest lists this file, but it is missing", REMEDY)
    size = path.stat().st_size
    if size != record.bytes or sha256_of_file(path) != record.sha256:
        raise _damaged(path, size, record.bytes)


def _damaged(path: Path, size: int, expected: int) -> InputError:
    """Say how a file differs from what was written."""
    if size < expected:
        return InputError(path, f"the file is cut short: {size} of {expected} bytes", REMEDY)
    if size > expected:
        return InputError(path, f"the file has grown: {size} bytes instead of {expected}", REMEDY)
    return InputError(path, "the file was changed: its checksum does not match the manifest", REMEDY)
