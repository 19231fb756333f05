"""Is a shard folder whole? Every kind of damage has its own message.

Dimensions: R evaluation rows, C negatives of a row, N events.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from tqdm import tqdm

from gensr_dist.data.shards.block import Block
from gensr_dist.data.shards.manifest import TOKENIZER, Manifest, ShardRecord
from gensr_dist.data.shards.tar import read_shard
from gensr_dist.data.timelines.histories import count_interactions
from gensr_dist.data.timelines.rows import training_rows
from gensr_dist.errors import InputError
from gensr_dist.sentences import sentence
from gensr_dist.storage.checked_files import REMEDY, DamagedError, FileRecord
from gensr_dist.storage.checksum_cache import clear_checksums
from gensr_dist.storage.folder import Folder


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

    def lines(self) -> tuple[str, ...]:
        """For people."""
        return (f"whole; {sentence(self)}",)


def verify(folder: Folder) -> VerifyReport:
    """Check the manifest, every shard's name, order, size, checksum and arrays, the item store and the tokenizer.

    Raises:
        InputError: the first fault found.
    """
    began = time.monotonic()
    clear_checksums()
    manifest = check_files(folder)
    for record in tqdm(manifest.shards, desc="decode shards", unit="shard", disable=None, delay=2):
        _verify_shard(folder, manifest, record)
    return VerifyReport(
        shards=len(manifest.shards),
        samples=sum(shard.samples for shard in manifest.shards),
        users=manifest.users,
        events=manifest.events,
        evaluation_rows=sum(shard.evaluation_rows for shard in manifest.shards),
        files=len(manifest.files),
        bytes=sum(shard.bytes for shard in manifest.shards) + sum(file.bytes for file in manifest.files),
        seconds=round(time.monotonic() - began, 3),
    )


def check_files(folder: Folder) -> Manifest:
    """Compare every file with the manifest, of remote shards only names and sizes; decode none.

    Raises:
        InputError: the first fault found.
    """
    manifest = Manifest.read(folder)
    check_item_store(folder, manifest)
    for _, fault in shard_faults(folder, manifest, contents=folder.local is not None):
        raise fault
    return manifest


def shard_faults(
    folder: Folder, manifest: Manifest, *, contents: bool
) -> Iterator[tuple[ShardRecord | None, InputError]]:
    """Find shards that are missing, extra, out of place, cut short or changed; none is held in memory.

    Args:
        folder: of the shards.
        manifest: of the folder.
        contents: compare checksums, which downloads remote shards; else names and sizes alone.

    Yields:
        The shard's record, None if the manifest has none, and what is wrong.
    """
    found = {name: size for name, size in folder.sizes().items() if name.endswith(".tar") and "/" not in name}
    listed = {record.name: record for record in manifest.shards}
    for name in sorted(listed.keys() - found.keys()):
        record = listed[name]
        yield record, DamagedError(folder.where(name), expected=record.bytes, size=None)
    for name in sorted(found.keys() - listed.keys()):
        problem = "the manifest does not list this shard"
        yield None, InputError(folder.where(name), problem, "delete it, or run `gensr prepare` again")
    present = [record for record in manifest.shards if record.name in found]
    for record in tqdm(present, desc="check shards", unit="shard", disable=None, delay=2):
        damage: InputError | None = None
        if contents:
            damage = _damage(folder, record)
        elif found[record.name] != record.bytes:
            damage = DamagedError(folder.where(record.name), expected=record.bytes, size=found[record.name])
        if damage is not None:
            yield record, _recognised(damage, manifest)


def read_checked(folder: Folder, manifest: Manifest, record: ShardRecord, *, negatives: bool = True) -> Iterator[Block]:
    """Read a shard's blocks; its bytes are compared with the checksum first.

    Args:
        folder: of the shards.
        manifest: of the folder.
        record: of the shard.
        negatives: whether evaluation negatives are decoded.

    Raises:
        InputError: the shard is missing, damaged, or its arrays are not those of the manifest's log.
    """
    where = folder.where(record.name)
    width = manifest.config.eval_negatives if negatives else 0
    listed = (record.samples, record.users, record.events, record.training_rows, record.evaluation_rows)
    found = np.zeros(len(listed), dtype=np.int64)
    try:
        content = folder.read(record.name, record.sha256, record.bytes)
    except DamagedError as damage:
        raise _recognised(damage, manifest) from None
    for block in read_shard(content, where, record.first_user, negatives=negatives):
        timelines, negative_RC = block.timelines, block.eval_negative_RC
        for name, values, limit in (
            ("item", timelines.item_N, manifest.items),
            ("eval_negative", negative_RC, manifest.items),
            ("query", timelines.query_N, manifest.queries),
        ):
            if values.size and values.max() >= limit:
                problem = f"{name} {values.max()} is none of the {limit} that the manifest counts"
                raise InputError(where, problem, REMEDY)
        if negative_RC.shape[1] != width:
            raise InputError(where, f"evaluation rows have {negative_RC.shape[1]} negatives, not {width}", REMEDY)
        found += (1, timelines.users, len(timelines.item_N), len(training_rows(timelines)), len(negative_RC))
        if (found > listed).any():
            break
        yield block
    if tuple(found.tolist()) != listed:
        raise InputError(
            where,
            f"it holds other numbers of samples, users, events, training rows or evaluation rows than the {listed} of "
            "the manifest",
            REMEDY,
        )


def _recognised(damage: InputError, manifest: Manifest) -> InputError:
    """The same damage, or the news that it is another shard's contents."""
    owner = {record.sha256: record.name for record in manifest.shards}
    if not isinstance(damage, DamagedError) or damage.sha256 not in owner:
        return damage
    problem = f"shards are out of order: it holds the contents of {owner[damage.sha256]}"
    return InputError(damage.where, problem, REMEDY)


def check_item_store(folder: Folder, manifest: Manifest) -> None:
    """Check the files that the manifest lists besides the shards.

    Raises:
        InputError: the item store was made with another vocabulary, or a file is missing, cut short or changed.
    """
    tokenised_with = folder.read_json("items/vocabulary.json", REMEDY)
    if tokenised_with != manifest.vocabulary:
        raise InputError(
            folder.where("items/vocabulary.json"),
            f"the item store was tokenised with vocabulary {str(tokenised_with)[:12]}, the manifest says "
            f"{manifest.vocabulary[:12]}",
            "use the item store that was made with these shards, or run `gensr prepare` again",
        )
    for record in manifest.files:
        damage = _damage(folder, record)
        if isinstance(damage, DamagedError) and record.name == TOKENIZER and damage.sha256:
            raise InputError(
                damage.where,
                f"the tokenizer has vocabulary {damage.sha256[:12]}, the manifest says {manifest.vocabulary[:12]}",
                "use the tokenizer that was made with these shards, or run `gensr prepare` again",
            )
        if damage is not None:
            raise damage
    _check_tables(folder, manifest)


def _check_tables(folder: Folder, manifest: Manifest) -> None:
    """Compare the sizes of the item store's tables with the manifest.

    Raises:
        InputError: a table is not listed, cannot be read, or is of another log.
    """
    config, records = manifest.config, {record.name: record for record in manifest.files}
    tables: dict[str, tuple[int, ...]] = {
        "items.parquet": (manifest.items,),
        "users.parquet": (manifest.users,),
        "queries.parquet": (manifest.queries,),
        "popularity.npy": (manifest.items,),
        "title_tokens.npy": (manifest.items, config.title_tokens),
        "query_tokens.npy": (manifest.queries, config.query_tokens),
    }
    for table, expected in tables.items():
        name = f"items/{table}"
        if name not in records:
            raise InputError(folder.where("manifest.json"), f"expected a valid manifest, {name} is not listed", REMEDY)
        with folder.file(name, records[name].sha256, records[name].bytes) as path:
            found = _shape_of(path, table, folder.where(name))
        if found != expected:
            problem = f"it holds a table of {_shown(found)}, the manifest says {_shown(expected)}"
            raise InputError(folder.where(name), problem, REMEDY)


def _shape_of(path: Path, table: str, where: str) -> tuple[int, ...]:
    try:
        if table.endswith(".parquet"):
            return (int(pl.scan_parquet(path, glob=False).select(pl.len()).collect().item()),)
        with path.open("rb") as file:
            np.lib.format.read_magic(file)
            return tuple(np.lib.format.read_array_header_1_0(file)[0])
    except (ValueError, pl.exceptions.PolarsError) as error:
        raise InputError(where, f"expected a table ({str(error).splitlines()[0]})", REMEDY) from None


def _shown(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) + (" rows" if len(shape) == 1 else "")


def _damage(folder: Folder, record: FileRecord) -> InputError | None:
    """How a file differs from its record."""
    try:
        with folder.file(record.name, record.sha256, record.bytes) as path:
            return record.damage(path, folder.where(record.name))
    except DamagedError as damage:
        return damage


def _verify_shard(folder: Folder, manifest: Manifest, record: ShardRecord) -> None:
    """Decode a shard and count what `read_checked` does not."""
    found = sum(count_interactions(block.timelines) for block in read_checked(folder, manifest, record))
    if found != record.interactions:
        problem = f"it holds {found} interactions, the manifest says {record.interactions}"
        raise InputError(folder.where(record.name), problem, REMEDY)
