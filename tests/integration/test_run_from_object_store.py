"""A run whose raw log and shards lie in an S3-compatible store gives what a local run gives."""

from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from gensr_dist.cli.main import main
from gensr_dist.data.shards.manifest import Manifest
from gensr_dist.storage import cache as cache_module
from gensr_dist.storage.folder import Folder
from tests.object_store import object_store

CONFIG = """
data: {source: kuaisar, vocabulary: 400, title_tokens: 6, query_tokens: 4, history: 5, eval_negatives: 20,
       min_interactions: 2, users_per_sample: 4, samples_per_shard: 2, shuffle_shards: 2}
lightgcn: {width: 8, epochs: 2, validate_every: 1}
model: {semantic_history: pooled}
train: {steps: 6, batch: 8, warmup_steps: 2, validate_every: 3, validate_rows: 10, checkpoint_every: 6, workers: 1}
simulate: {users: 60, items: 300, days: 6, events_per_user: 40}
"""


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    with object_store("logs") as url:
        yield url


def gensr(*arguments: str) -> None:
    assert main(list(arguments)) == 0


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_run_from_the_store_equals_a_local_run(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_module, "_kept", {})
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    Path("tiny.yaml").write_text(CONFIG)
    gensr("simulate", "tiny.yaml", "--set", "run=made")
    for path in Path("made/raw").iterdir():
        Folder.at(f"{bucket}/raw").put(path.name, path)
    local = ["tiny.yaml", "--set", "run=local", "--set", "data.raw=made/raw"]
    remote = ["tiny.yaml", "--set", "run=remote", "--set", f"data.raw={bucket}/raw"]
    remote += ["--set", f"data.shards={bucket}/shards"]

    for place in (local, remote):
        gensr("prepare", "kuaisar", *place)
    system, root = fsspec.core.url_to_fs(f"{bucket}/shards")
    there = {name: system.cat_file(f"{root}/{name}") for name in Folder.at(f"{bucket}/shards").sizes()}
    assert there == files(Path("local/shards"))
    assert not Path("remote/shards").exists()
    gensr("verify", f"{bucket}/shards")

    manifest = Manifest.read(Folder.at("local/shards"))
    item_store = sum(file.bytes for file in manifest.files)
    limit = item_store + 3 * max(shard.bytes for shard in manifest.shards)
    assert limit < sum(map(len, there.values()))
    remote += ["--set", "data.cache=cache", "--set", f"data.cache_gb={limit / 1e9}"]
    for place in (local, remote):
        gensr("lightgcn", *place)
        gensr("channels", *place)
        gensr("train", *place)
    for made in ("cf/items.npy", "cf/users.npy", "model/gensr.safetensors"):
        assert Path("remote", made).read_bytes() == Path("local", made).read_bytes(), made
    assert item_store < sum(map(len, files(Path("cache")).values())) <= limit
