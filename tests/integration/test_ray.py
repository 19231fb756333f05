"""Preparation on a Ray cluster of two nodes on this machine: the bytes of the local engine, also when a node dies."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import fsspec
import pytest
import tqdm

from gensr_dist.data.config import DataConfig, SimulateConfig, SplitMethod
from gensr_dist.data.preparation.local_engine import LocalEngine
from gensr_dist.data.preparation.prepare import PrepareResult, prepare
from gensr_dist.data.sources import parts, read_source
from gensr_dist.data.sources.chunks import Chunk, Each
from gensr_dist.data.sources.reading import cut_file
from gensr_dist.data.sources.simulate import simulate
from gensr_dist.errors import InputError
from gensr_dist.storage.folder import Folder
from tests.object_store import object_store
from tests.waiting import becomes

ray = pytest.importorskip("ray")

CONFIG = DataConfig(
    source="simulate",
    min_interactions=3,
    vocabulary=600,
    eval_negatives=9,
    users_per_sample=8,
    samples_per_shard=3,
)
SEED = 3
STORE_BYTES = 100 << 20  # of each node
SETTINGS = {
    "RAY_max_direct_call_object_size": "1024",  # results live on the node that made them, even these small ones
    # A dead node is noticed within 2 s, not 30.
    "RAY_health_check_initial_delay_ms": "0",
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_timeout_ms": "1000",
    "RAY_health_check_failure_threshold": "4",
}


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("log") / "raw"
    simulate(SimulateConfig(users=150, items=300, days=6), 0, folder)
    rec = folder / "rec_inter.csv"
    lines = rec.read_text().splitlines(keepends=True)
    rec.write_text("".join([*lines, *lines[1:400], "\n"]))  # repeats of other parts, and a blank row
    return folder


@pytest.fixture
def bucket() -> Iterator[str]:
    with object_store("ray") as url:
        yield url


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A head and a worker with a core each; the driver is connected."""
    from ray.cluster_utils import Cluster

    for name, value in SETTINGS.items():
        monkeypatch.setenv(name, value)
    node = {"num_cpus": 1, "object_store_memory": STORE_BYTES}
    cluster = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
    cluster.worker = cluster.add_node(**node)
    ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
    try:
        yield cluster
    finally:
        ray.shutdown()
        cluster.shutdown()


@pytest.fixture
def many_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut files of some hundred kilobytes as if they were large."""

    def cut_small(file: str, _: int, each: Each) -> tuple[Chunk, ...]:
        return cut_file(file, 50_000, each)

    monkeypatch.setattr(parts, "cut_file", cut_small)


def digests(folder: Path) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def prepare_here(raw: Path, config: DataConfig, folder: Path) -> PrepareResult:
    return prepare(LocalEngine(read_source(config, raw)), config, SEED, Folder.at(folder))


def prepare_on_ray(raw: Path | str, config: DataConfig, folder: Path | str) -> PrepareResult:
    from gensr_dist.data.preparation.ray_engine import RayEngine

    return prepare(RayEngine(raw, bucket_rows=1_000), config, SEED, Folder.at(folder))


@pytest.mark.usefixtures("cluster", "many_parts")
def test_same_bytes_as_the_local_engine(raw: Path, tmp_path: Path) -> None:
    splits: tuple[SplitMethod, ...] = ("days", "time", "leave_one_out")
    for split in splits:
        config = replace(CONFIG, split=split)
        here = prepare_here(raw, config, tmp_path / "here")
        there = prepare_on_ray(raw, config, tmp_path / "there")
        assert digests(tmp_path / "there") == digests(tmp_path / "here")
        assert replace(there, seconds=0) == replace(here, seconds=0)
        assert there.shards > 3
    assert len(parts.cut_table(str(raw / "rec_inter.csv"), load, map)) > 3

    path = raw / "src_inter.csv"
    whole = path.read_text()
    path.write_text(whole + "1,1,,soon,[1],,1,1,\n")
    with pytest.raises(
        InputError, match=rf"src_inter\.csv:{whole.count(chr(10)) + 1}: .*timestamp is 'soon', expected"
    ):
        prepare_on_ray(raw, CONFIG, tmp_path / "none")
    path.write_text(whole)
    with pytest.raises(InputError, match="eval_negatives"):
        prepare_on_ray(raw, replace(CONFIG, eval_negatives=290), tmp_path / "none")
    assert not (tmp_path / "none").exists()


def load(chunk: Chunk, advance: Callable[[int], object]) -> Any:
    raise AssertionError("not read")


@pytest.mark.usefixtures("many_parts")
@pytest.mark.parametrize("phase", ["survey log", "gather users", "write shards"])
def test_a_node_dies(cluster: Any, raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, phase: str) -> None:
    from gensr_dist.data.preparation import ray_engine

    buckets: list[Any] = []  # as they were made
    into_buckets = ray_engine._into_buckets

    def recorded(*arguments: Any) -> list[Any]:
        buckets.extend(into_buckets(*arguments))
        return buckets

    monkeypatch.setattr(ray_engine, "_into_buckets", recorded)

    class Killer(tqdm.tqdm):
        """Kills the worker node when the phase has done its first part."""

        def __init__(self, *arguments: Any, **options: Any) -> None:
            self.in_phase = options["desc"] == phase
            super().__init__(*arguments, **options)

        def update(self, n: float | None = 1) -> bool | None:
            if self.in_phase and cluster.worker is not None:
                if phase == "gather users":
                    ray.wait(buckets, num_returns=len(buckets), fetch_local=False)
                    found = [place["node_ids"] for place in ray.experimental.get_object_locations(buckets).values()]
                    assert [cluster.worker.node_id] in found, "nothing is lost with the node"
                cluster.remove_node(cluster.worker, allow_graceful=False)
                cluster.worker = None
            return super().update(n)

    monkeypatch.setattr(ray_engine, "tqdm", Killer)
    prepare_here(raw, CONFIG, tmp_path / "here")
    prepare_on_ray(raw, CONFIG, tmp_path / "there")
    assert cluster.worker is None
    assert becomes(lambda: [node["Alive"] for node in ray.nodes()].count(True) == 1), "the cluster did not notice"
    assert digests(tmp_path / "there") == digests(tmp_path / "here")


@pytest.mark.usefixtures("many_parts")
def test_from_and_to_an_object_store(bucket: str, request: pytest.FixtureRequest, raw: Path, tmp_path: Path) -> None:
    request.getfixturevalue("cluster")  # after the store, whose address the nodes have in their environment
    for path in raw.iterdir():
        Folder.at(f"{bucket}/raw").put(path.name, path)
    prepare_here(raw, CONFIG, tmp_path / "here")
    prepare_on_ray(f"{bucket}/raw", CONFIG, f"{bucket}/shards")
    system, root = fsspec.core.url_to_fs(f"{bucket}/shards")
    names = Folder.at(f"{bucket}/shards").sizes()
    found = {name: hashlib.sha256(system.cat_file(f"{root}/{name}")).hexdigest() for name in names}
    assert found == digests(tmp_path / "here")


@pytest.mark.parametrize("address", ["127.0.0.1:9", "127.0.0.1:nine"])
def test_no_cluster_at_the_address(raw: Path, address: str) -> None:
    from gensr_dist.data.preparation.ray_engine import RayEngine

    with pytest.raises(
        InputError, match=rf"--address: no Ray cluster at {address} .*; start one with `ray start --head`"
    ):
        RayEngine(raw, address)
