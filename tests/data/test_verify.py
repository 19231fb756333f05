"""Each kind of damage has its own one-line message, from `verify` and from opening for training alike."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from gensr_dist.data.config import DataConfig
from gensr_dist.data.events import EventLog
from gensr_dist.data.items import ItemStore
from gensr_dist.data.preparation.local_engine import LocalEngine
from gensr_dist.data.preparation.prepare import prepare
from gensr_dist.data.storage import Folder
from gensr_dist.data.store import TimelineStore
from gensr_dist.data.verify import verify
from gensr_dist.errors import InputError


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
    (lambda f: (f / "shard-00002.tar").unlink(), r"shard-00002\.tar: the manifest lists this shard, but it is missing"),
    (lambda f: shutil.copy(f / "shard-00000.tar", f / "shard-00009.tar"), r"shard-00009\.tar: .* does not list"),
    (swap, r"shard-00000\.tar: shards are out of order: it holds the contents of shard-00001\.tar"),
    (edit_manifest, r"manifest\.json: the manifest was edited"),
    (other_version, r"manifest\.json: expected schema version 1, found 99"),
    (lambda f: (f / "manifest.json").unlink(), r"manifest\.json: the file does not exist; run `gensr prepare` first"),
    (lambda f: (f / "manifest.json").write_text("[]"), r"manifest\.json: expected a manifest"),
    (lambda f: (f / "manifest.json").write_text('{"a'), r"manifest\.json: expected a JSON file"),
]


@pytest.mark.parametrize(("damage", "message"), SHARD_FAULTS)
@pytest.mark.parametrize("reader", [verify, TimelineStore.open])
def test_damaged_shards(
    folder: Path, damage: Callable[[Path], object], message: str, reader: Callable[[Path], object]
) -> None:
    damage(folder)
    with pytest.raises(InputError, match=message) as caught:
        reader(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "items" / "items.parquet").unlink(), r"items\.parquet: the manifest lists this file, but"),
        (lambda f: (f / "items" / "title_tokens.npy").write_bytes(b"x"), r"title_tokens\.npy: the file is cut short"),
        (lambda f: (f / "tokenizer" / "tokenizer.json").write_text("{}"), r"the tokenizer has vocabulary 44136fa355b3"),
        (lambda f: shutil.rmtree(f / "tokenizer"), r"tokenizer\.json: the file does not exist"),
        (lambda f: shutil.rmtree(f / "items"), r"vocabulary\.json: the file does not exist"),
    ],
)
@pytest.mark.parametrize("reader", [verify, ItemStore.open])
def test_damaged_item_store(
    folder: Path, damage: Callable[[Path], object], message: str, reader: Callable[[Path], object]
) -> None:
    damage(folder)
    with pytest.raises(InputError, match=message):
        reader(folder)


@pytest.mark.parametrize("reader", [verify, ItemStore.open])
def test_item_store_of_another_vocabulary(
    folder: Path,
    tmp_path: Path,
    make_log: Callable[..., EventLog],
    small_config: DataConfig,
    reader: Callable[[Path], object],
) -> None:
    prepare(LocalEngine(make_log()), small_config, 7, Folder.at(tmp_path / "other"), phrases=["another vocabulary"])
    shutil.rmtree(folder / "items")
    shutil.copytree(tmp_path / "other" / "items", folder / "items")
    with pytest.raises(InputError, match=r"item store was tokenised with vocabulary \w{12}, the manifest says \w{12}"):
        reader(folder)


def test_a_whole_folder(prepared: Path) -> None:
    report = verify(prepared)
    store = TimelineStore.open(prepared)
    assert (report.shards, report.samples, report.users, report.events) == (4, 10, 40, len(store.timelines.item_N))
    assert report.evaluation_rows == len(store.eval_event_R) > 100
    on_disk = sum(path.stat().st_size for path in prepared.rglob("*") if path.is_file())
    assert report.bytes == on_disk - (prepared / "manifest.json").stat().st_size
