"""Each kind of damage has its own one-line message, from `verify` and from opening for training alike."""

import errno
import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gensr_dist.data.config import DataConfig
from gensr_dist.data.events import EventLog
from gensr_dist.data.items import ItemStore
from gensr_dist.data.preparation.local_engine import LocalEngine
from gensr_dist.data.preparation.prepare import prepare
from gensr_dist.data.shards.store import TimelineStore
from gensr_dist.data.shards.verify import verify
from gensr_dist.errors import InputError
from gensr_dist.storage.checked_files import sha256_of_file
from gensr_dist.storage.folder import Folder


@pytest.fixture
def folder(prepared: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(prepared, tmp_path / "shards"))


def flip_bit(folder: Path) -> None:
    path = folder / "shard-00001.tar"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def truncate(folder: Path) -> None:
    path = folder / "shard-00001.tar"
    path.write_bytes(path.read_bytes()[:-1_000])


def swap(folder: Path) -> None:
    first, second = folder / "shard-00000.tar", folder / "shard-00001.tar"
    first.rename(folder / "other")
    second.rename(first)
    (folder / "other").rename(second)


def edit_manifest(folder: Path) -> None:
    path = folder / "manifest.json"
    body = json.loads(path.read_text())
    body["seed"] = 8
    path.write_text(json.dumps(body))


def other_version(folder: Path) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema_version": 99}))


SHARD_FAULTS: list[tuple[Callable[[Path], object], str]] = [
    (flip_bit, r"shard-00001\.tar: the file was changed: its checksum"),
    (truncate, r"shard-00001\.tar: the file is cut short: \d+ of \d+ bytes"),
    (lambda f: (f / "shard-00002.tar").unlink(), r"shard-00002\.tar: the manifest lists this file, but it is missing"),
    (lambda f: shutil.copy(f / "shard-00000.tar", f / "shard-00009.tar"), r"shard-00009\.tar: .* does not list"),
    (swap, r"shard-00000\.tar: shards are out of order: it holds the contents of shard-00001\.tar"),
    (edit_manifest, r"manifest\.json: the manifest was edited"),
    (other_version, r"manifest\.json: expected schema version 2, found 99"),
    (lambda f: (f / "manifest.json").unlink(), r"manifest\.json: the file does not exist; run `gensr prepare` first"),
    (lambda f: (f / "manifest.json").write_text("[]"), r"manifest\.json: expected a manifest"),
    (lambda f: (f / "manifest.json").write_text('{"a'), r"manifest\.json: expected a JSON file"),
    (lambda f: (f / "manifest.json").write_text("[" * 100_000), r"manifest\.json: expected a JSON file"),
]


@pytest.mark.parametrize(("damage", "message"), SHARD_FAULTS)
@pytest.mark.parametrize("reader", [verify, TimelineStore.open])
def test_damaged_shards(
    folder: Path, damage: Callable[[Path], object], message: str, reader: Callable[[Folder], object]
) -> None:
    damage(folder)
    with pytest.raises(InputError, match=message) as caught:
        reader(Folder.at(folder))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "items" / "items.parquet").unlink(), r"items\.parquet: the manifest lists this file, but"),
        (lambda f: (f / "items" / "title_tokens.npy").write_bytes(b"x"), r"title_tokens\.npy: the file is cut short"),
        (lambda f: (f / "tokenizer" / "tokenizer.json").write_text("{}"), r"the tokenizer has vocabulary 44136fa355b3"),
        (lambda f: shutil.rmtree(f / "tokenizer"), r"tokenizer/\w+\.json: the manifest lists this file, but"),
        (lambda f: shutil.rmtree(f / "items"), r"vocabulary\.json: the file does not exist"),
    ],
)
@pytest.mark.parametrize("reader", [verify, ItemStore.open])
def test_damaged_item_store(
    folder: Path, damage: Callable[[Path], object], message: str, reader: Callable[[Folder], object]
) -> None:
    damage(folder)
    with pytest.raises(InputError, match=message):
        reader(Folder.at(folder))


@pytest.mark.parametrize("reader", [verify, ItemStore.open])
def test_item_store_of_another_vocabulary(
    folder: Path,
    tmp_path: Path,
    make_log: Callable[..., EventLog],
    small_config: DataConfig,
    reader: Callable[[Folder], object],
) -> None:
    prepare(LocalEngine(make_log()), small_config, 7, Folder.at(tmp_path / "other"), phrases=["another vocabulary"])
    shutil.rmtree(folder / "items")
    shutil.copytree(tmp_path / "other" / "items", folder / "items")
    with pytest.raises(InputError, match=r"item store was tokenised with vocabulary \w{12}, the manifest says \w{12}"):
        reader(Folder.at(folder))


def forge(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the manifest and give it the right digest."""
    path = folder / "manifest.json"
    body = json.loads(path.read_text())
    del body["digest"]
    change(body)
    digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
    path.write_text(json.dumps({**body, "digest": digest}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m["shards"][1].update(name="../shard-00001.tar"), r"'\.\./shard-00001\.tar' is no name of a shard"),
        (lambda m: m["shards"][1].update(name="/shard-00001.tar"), "is no name of a shard"),
        (lambda m: m["shards"][1].update(name="shard-00000.tar"), "it lists a shard twice"),
        (lambda m: m["files"][0].update(name="items/../../x"), r"'items/\.\./\.\./x' is no name of a file"),
        (lambda m: m["files"][0].update(name="/etc/passwd"), "is no name of a file"),
        (lambda m: m["shards"][0].update(sha256="../../x"), r"the checksum of shard-0+\.tar is no SHA-256"),
        (lambda m: m["files"][0].update(sha256=""), "the checksum of .* is no SHA-256"),
        (lambda m: m["shards"].reverse(), r"shard-00003\.tar begins at user 36 instead of 0"),
        (lambda m: m["shards"].clear(), "it lists no shard"),
        (lambda m: m["shards"][0].update(users=-4), r"shard-00000\.tar has a negative count"),
        (lambda m: m["shards"].pop(), "do not add up to 40 users"),
        (lambda m: m.update(events=m["events"] + 1), r"do not add up to \d+ events"),
        (lambda m: m.update(vocabulary="0" * 64), r"tokenizer\.json is not listed with the vocabulary's checksum"),
        (lambda m: m["files"].append(m["files"][0]), "it lists a file twice"),
        (lambda m: m["shards"][0].update(training_rows=10**30), r"shard-00000\.tar counts more than its \d+ bytes"),
        (lambda m: (m["shards"][3].update(users=10**12), m.update(users=36 + 10**12)), "counts more than its"),
        (lambda m: m.update(items=10**30), "do not go together"),
        (lambda m: m["config"].update(eval_negatives=100_000), "do not go together"),
        (lambda m: m["shards"][0].pop("interactions"), r"shards\.0\.interactions: Field required"),
    ],
)
@pytest.mark.parametrize("reader", [verify, TimelineStore.open])
def test_a_manifest_that_contradicts_itself(
    folder: Path, change: Callable[[dict[str, Any]], object], message: str, reader: Callable[[Folder], object]
) -> None:
    forge(folder, change)
    with pytest.raises(InputError, match=f"manifest\\.json: expected .*{message}"):
        reader(Folder.at(folder))


@pytest.mark.parametrize("reader", [verify, TimelineStore.open])
def test_a_disk_that_fails(folder: Path, monkeypatch: pytest.MonkeyPatch, reader: Callable[[Folder], object]) -> None:
    def failing(path: Path) -> str:
        if path.name == "shard-00002.tar":
            raise OSError(errno.EIO, "Input/output error")
        return sha256_of_file(path)

    monkeypatch.setattr("gensr_dist.storage.checked_files.cached_sha256", failing)
    with pytest.raises(InputError, match=r"shard-00002\.tar: the file cannot be read \(Input/output error\)"):
        reader(Folder.at(folder))
    assert [lost.name for lost in TimelineStore.open(Folder.at(folder), on_corrupt="skip").lost] == ["shard-00002.tar"]


def move_events(manifest: dict[str, Any]) -> None:
    manifest["shards"][0]["events"] -= 1
    manifest["shards"][1]["events"] += 1


def swap_records(manifest: dict[str, Any]) -> None:
    first, second, *_ = manifest["shards"]
    second["first_user"], first["first_user"] = 0, second["users"]
    manifest["shards"][:2] = [second, first]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (move_events, r"shard-00000\.tar: it holds other numbers of samples, users, events,"),
        (lambda m: m.update(items=50), r"items\.parquet: it holds a table of 60 rows, the manifest says 50 rows"),
        (
            lambda m: m["config"].update(query_tokens=5),
            r"query_tokens\.npy: .* a table of 5 x 4, the .* says 5 x 5",
        ),
        (lambda m: m["config"].update(eval_negatives=5), "evaluation rows have 4 negatives, not 5"),
        (lambda m: m["shards"][2].update(interactions=1), r"shard-00002\.tar: it holds \d+ interactions, the manifest"),
        (lambda m: m["shards"][2].update(training_rows=1), r"shard-00002\.tar: it holds other numbers of samples"),
        (lambda m: m["shards"][2].update(samples=1), r"shard-00002\.tar: it holds other numbers of samples"),
        (lambda m: m["shards"][2].update(evaluation_rows=1), r"shard-00002\.tar: it holds other numbers of samples"),
        (lambda m: m["shards"][2].update(bytes=10**6), r"shard-00002\.tar: the file is cut short"),
        (lambda m: m["files"][0].update(bytes=1), "items.parquet: the file has grown: "),
        (swap_records, r"shard-00001\.tar: .*sample 0000000012 stands where sample 0000000000 belongs"),
    ],
)
def test_verify_compares_arrays_with_the_manifest(
    folder: Path, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    forge(folder, change)
    with pytest.raises(InputError, match=message):
        verify(Folder.at(folder))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (move_events, "other numbers of samples, users, events"),
        (lambda m: m["shards"][2].update(training_rows=500), "other numbers of samples, users, events"),
        (swap_records, r"shard-00001\.tar: .*sample 0000000012 stands where sample 0000000000 belongs"),
        (lambda m: m.update(items=50), r"shard-00000\.tar: item \d+ is none of the 50 that the manifest counts"),
        (lambda m: m.update(queries=4), r"shard-00000\.tar: query 4 is none of the 4 that the manifest counts"),
    ],
)
def test_a_forged_manifest_cannot_make_the_store_read_beyond_its_arrays(
    folder: Path, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    forge(folder, change)
    with pytest.raises(InputError, match=message):
        TimelineStore.open(Folder.at(folder)).window(0)


@pytest.mark.parametrize(
    "table", [f"{name}.parquet" for name in ("items", "users", "queries")] + ["popularity.npy", "title_tokens.npy"]
)
@pytest.mark.parametrize("reader", [verify, ItemStore.open])
def test_tables_of_another_log(
    folder: Path,
    tmp_path: Path,
    make_log: Callable[..., EventLog],
    small_config: DataConfig,
    table: str,
    reader: Callable[[Folder], object],
) -> None:
    """Each file fits its checksum, yet they do not belong together."""
    log = make_log(users=20, items=55, events=700)
    other = replace(log, queries=log.queries.head(4), events=log.events.filter(log.events["query"] < 4))
    prepare(LocalEngine(other), small_config, 7, Folder.at(tmp_path / "other"))
    path = shutil.copy(tmp_path / "other" / "items" / table, folder / "items" / table)

    def list_it(manifest: dict[str, Any]) -> None:
        (record,) = [record for record in manifest["files"] if record["name"] == f"items/{table}"]
        record.update(bytes=path.stat().st_size, sha256=sha256_of_file(path))

    forge(folder, list_it)
    with pytest.raises(InputError, match=rf"{table}: it holds a table of \d.*, the manifest says \d"):
        reader(Folder.at(folder))
    path.write_bytes(b"no table")
    forge(folder, list_it)
    with pytest.raises(InputError, match=f"{table}: expected a table"):
        reader(Folder.at(folder))
    forge(folder, lambda m: m["files"].remove(next(r for r in m["files"] if r["name"] == f"items/{table}")))
    with pytest.raises(InputError, match=f"items/{table} is not listed"):
        reader(Folder.at(folder))


def test_a_whole_folder(prepared: Path) -> None:
    report = verify(Folder.at(prepared))
    timelines = TimelineStore.open(Folder.at(prepared)).window(0).timelines
    assert (report.shards, report.samples, report.users, report.events) == (4, 10, 40, len(timelines.item_N))
    assert report.evaluation_rows == (timelines.positive_N & (timelines.split_N > 0)).sum() > 100
    on_disk = sum(path.stat().st_size for path in prepared.rglob("*") if path.is_file())
    assert report.bytes == on_disk - (prepared / "manifest.json").stat().st_size


def test_a_folder_may_have_any_name(prepared: Path, tmp_path: Path) -> None:
    """`mine[1].yaml`, a second download, makes the run folder `runs/mine[1]`, which is no pattern."""
    folder = Path(shutil.copytree(prepared, tmp_path / "mine[1]*?" / "shards"))
    verify(Folder.at(folder))
    items = ItemStore.open(Folder.at(folder))
    assert len(items.item_ids) == len(items.texts) == TimelineStore.open(Folder.at(folder)).items
    assert len(items.users)
    assert len(items.queries) == len(items.query_QT)
