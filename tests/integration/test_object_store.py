"""Shards and raw logs in an S3-compatible store: prepared into it, verified there, read through a small cache."""

from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from pathlib import Path

import fsspec
import numpy as np
import pytest
from torch.utils.data import DataLoader, Dataset

from gensr_dist.data.config import DataConfig
from gensr_dist.data.items import ItemStore
from gensr_dist.data.preparation.local_engine import LocalEngine
from gensr_dist.data.preparation.prepare import prepare
from gensr_dist.data.shards.manifest import Manifest
from gensr_dist.data.shards.store import TimelineStore
from gensr_dist.data.shards.verify import verify
from gensr_dist.errors import InputError
from gensr_dist.storage import cache as cache_module
from gensr_dist.storage.cache import Cache
from gensr_dist.storage.folder import Folder
from gensr_dist.storage.publish import publish
from tests.conftest import random_log
from tests.object_store import forget_clients, object_store

SHARDS_IN_CACHE = 2


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    with object_store("logs") as url:
        yield url


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten shards."""
    folder = tmp_path_factory.mktemp("local") / "shards"
    config = DataConfig(split="time", vocabulary=300, eval_negatives=9, users_per_sample=2, samples_per_shard=2)
    prepare(LocalEngine(random_log(0)), config, 0, Folder.at(folder))
    return folder


def small_cache(shards: Folder, folder: Path) -> Cache:
    """Room for the item store and two shards."""
    manifest = Manifest.read(shards)
    largest = max(shard.bytes for shard in manifest.shards)
    return Cache(folder, sum(file.bytes for file in manifest.files) + SHARDS_IN_CACHE * largest, patience_s=5)


@pytest.fixture
def remote(bucket: str, local: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folder:
    """The same ten shards in the store, behind a cache that is too small for them."""
    monkeypatch.setattr(cache_module, "_kept", {})
    folder = Folder.at(f"{bucket}/{tmp_path.name}", small_cache(Folder.at(local), tmp_path / "cache"))
    publish(local, folder)
    return folder


def used(cache: Cache | None) -> int:
    assert cache is not None
    return sum(path.stat().st_size for path in cache.folder.iterdir())


def test_gives_what_the_local_folder_gives(remote: Folder, local: Path) -> None:
    here = Folder.at(local)
    assert remote.sizes() == here.sizes()
    assert len([name for name in here.sizes() if name.endswith(".tar")]) == 10
    assert replace(verify(remote), seconds=0) == replace(verify(here), seconds=0)
    stores = [TimelineStore.open(folder, shuffle_shards=3) for folder in (here, remote)]
    for _ in range(2):  # the second time after evictions
        for ours, theirs in zip(*(store.windows() for store in stores), strict=True):
            for field in fields(ours.timelines):
                assert np.array_equal(getattr(ours.timelines, field.name), getattr(theirs.timelines, field.name))
            assert remote.cache is not None
            assert 0 < used(remote.cache) <= remote.cache.limit < sum(here.sizes().values())
    ours, theirs = ItemStore.open(here), ItemStore.open(remote)
    assert np.array_equal(ours.title_IT, theirs.title_IT)
    assert ours.item_ids.equals(theirs.item_ids)
    assert ours.tokenizer.vocabulary == theirs.tokenizer.vocabulary
    for _ in stores[1].windows():  # the item store stays, whatever else is read
        pass
    assert np.array_equal(ours.title_IT, np.load(theirs.files["items/title_tokens.npy"]))


def change(remote: Folder, name: str, edit: Callable[[bytearray], object]) -> None:
    system, root = fsspec.core.url_to_fs(remote.place)
    content = bytearray(system.cat_file(f"{root}/{name}"))
    edit(content)
    system.pipe_file(f"{root}/{name}", bytes(content))


def flip(content: bytearray) -> None:
    content[len(content) // 2] ^= 1


def cut(content: bytearray) -> None:
    del content[-700:]


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (lambda r: change(r, "shard-00001.tar", flip), r"shard-00001\.tar: the file was changed: its checksum"),
        (lambda r: change(r, "shard-00001.tar", cut), r"shard-00001\.tar: the file is cut short: \d+ of \d+ bytes"),
        (lambda r: r.delete("shard-00001.tar"), r"shard-00001\.tar: the manifest lists this .*, but it is missing"),
        (lambda r: r.put("shard-00077.tar", b"x"), r"shard-00077\.tar: the manifest does not list this shard"),
        (lambda r: r.delete("manifest.json"), r"manifest\.json: the file does not exist; run `gensr prepare` first"),
        (lambda r: change(r, "manifest.json", cut), r"manifest\.json: expected a JSON file"),
        (lambda r: change(r, "items/items.parquet", flip), r"items\.parquet: the file was changed: its checksum"),
    ],
)
def test_damage_in_the_store(remote: Folder, damage: Callable[[Folder], object], problem: str) -> None:
    damage(remote)
    with pytest.raises(InputError, match=problem) as caught:
        verify(remote)
    assert str(caught.value).startswith("s3://logs/")


class Shards(Dataset[bytes]):
    """Every shard's bytes, read in the loader's own processes."""

    def __init__(self, folder: Folder, manifest: Manifest) -> None:
        self.folder, self.manifest = folder, manifest

    def __len__(self) -> int:
        return len(self.manifest.shards)

    def __getitem__(self, number: int) -> bytes:
        record = self.manifest.shards[number]
        return self.folder.read(record.name, record.sha256, record.bytes)


def test_forked_loaders_read_by_themselves(remote: Folder, local: Path) -> None:
    manifest = Manifest.read(remote)  # this process has a client with open connections and its thread
    loader = DataLoader(
        Shards(remote, manifest), batch_size=None, num_workers=2, multiprocessing_context="fork", timeout=300
    )
    expected = [(local / record.name).read_bytes() for record in manifest.shards]
    assert [bytes(content) for content in loader] == expected
    assert [bytes(content) for content in loader] == expected
    assert remote.cache is not None
    assert used(remote.cache) <= remote.cache.limit


def test_no_such_bucket(bucket: str, local: Path) -> None:
    nowhere = Folder.at("s3://nobody/has/this")
    actions: list[Callable[[], object]] = [
        lambda: verify(nowhere),
        nowhere.sizes,
        lambda: publish(local, nowhere),
        lambda: nowhere.put("x", b""),
    ]
    for action in actions:
        with pytest.raises(InputError, match=r"^s3://nobody/has/this.*: there is no such bucket; create it"):
            action()


def test_a_bucket_of_others(bucket: str, local: Path) -> None:
    theirs = Folder.at(f"{bucket}/photos")
    theirs.put("holiday.jpg", b"sun")
    with pytest.raises(InputError, match=r"holds files that no manifest lists \(1, the first is 'holiday\.jpg'\)"):
        publish(local, theirs)
    assert theirs.sizes() == {"holiday.jpg": 3}


@pytest.fixture
def _new_clients() -> Iterator[None]:
    forget_clients()
    yield
    forget_clients()


@pytest.mark.usefixtures("_new_clients")
def test_an_endpoint_that_nobody_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    with pytest.raises(InputError, match=r"^s3://logs/x/manifest\.json: the storage does not answer .*127\.0\.0\.1:1"):
        verify(Folder.at("s3://logs/x"))


@pytest.mark.usefixtures("_new_clients")
def test_without_credentials(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(InputError, match=r"manifest\.json: the storage wants credentials .*environment"):
        verify(Folder.at(f"{bucket}/x"))
