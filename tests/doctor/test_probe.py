import json
import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from gensr_dist.bench.ports import free_port
from gensr_dist.data.shards.manifest import Manifest
from gensr_dist.doctor import all_reduce
from gensr_dist.doctor.all_reduce import AllReduceRequest, join
from gensr_dist.doctor.probe import ProbeRequest, look
from gensr_dist.storage.folder import Folder
from gensr_dist.storage.records import digest


@pytest.fixture(autouse=True)
def extensions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path / "extensions"))
    return tmp_path / "extensions"


def test_the_command_prints_one_object() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "gensr_dist.doctor", "--probe"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=True,
    )
    (line,) = done.stdout.splitlines()
    found = json.loads(line)
    assert found["hostname"] == socket.gethostname()
    assert set(found["versions"]) == {"python", "torch", "deepspeed", "transformers", "gensr_dist"}
    assert all(found["versions"].values())


def test_whole_shards_give_the_digest_of_their_manifest(small_shards: Path) -> None:
    found = look(ProbeRequest(run=str(small_shards.parent), shards=str(small_shards)))
    assert found.shards_problem is None
    assert found.shards == digest(Manifest.read(Folder.at(small_shards)))[:16]
    assert found.run_there


@pytest.mark.parametrize("name", ["shard-00000.tar", "tokenizer/tokenizer.json"])
@pytest.mark.parametrize("left", [None, 10])
def test_missing_and_cut_files_are_named(tmp_path: Path, small_shards: Path, name: str, left: int | None) -> None:
    folder = tmp_path / "shards"
    shutil.copytree(small_shards, folder)
    size = (folder / name).stat().st_size
    if left is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes((folder / name).read_bytes()[:left])
    problem = look(ProbeRequest(shards=str(folder))).shards_problem
    assert problem is not None
    assert problem.problem == f"{folder}: {name} has {left or 0} of {size} bytes"


def test_a_lock_is_left_when_nobody_holds_it_open(extensions: Path) -> None:
    held, left = extensions / "held" / "lock", extensions / "left" / "lock"
    for path in (held, left):
        path.parent.mkdir(parents=True)
        path.touch()
    (extensions / "left" / "build.ninja").touch()
    with held.open():
        found = look(ProbeRequest())
    assert found.locks == (str(left),)
    assert found.held_locks == (str(held),)


def test_a_port_is_free_until_somebody_listens() -> None:
    port = free_port()
    assert look(ProbeRequest(port=port)).port_problem == ""
    with socket.socket() as server:
        server.bind(("", port))
        server.listen()
        assert look(ProbeRequest(port=port)).port_problem == "Address already in use"


def test_the_disk_of_a_folder_to_come_is_that_of_its_parent(tmp_path: Path) -> None:
    found = look(ProbeRequest(run=str(tmp_path / "a" / "b")))
    assert not found.run_there
    assert found.disk_free == pytest.approx(shutil.disk_usage(tmp_path).free, rel=0.2)


@pytest.mark.parametrize(("rank", "expected"), [(0, "not all 2 nodes came to 127.0.0.1"), (1, "it cannot connect")])
def test_nodes_that_do_not_find_each_other_say_so(rank: int, expected: str) -> None:
    request = AllReduceRequest(rank=rank, world=2, address="127.0.0.1", port=free_port(), backend="gloo", seconds=1)
    problem = join(request).problem
    assert problem is not None
    assert problem.problem.startswith(expected)


def test_a_join_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    go_on = threading.Event()
    monkeypatch.setattr(all_reduce, "_sum", lambda request, store, limit: go_on.wait(60))
    request = AllReduceRequest(rank=0, world=1, address="127.0.0.1", port=free_port(), backend="gloo", seconds=2)
    problem = join(request).problem
    go_on.set()
    assert problem is not None
    assert problem.problem == "gloo failed to join the nodes (no end after 3 s)"
    assert "GLOO_SOCKET_IFNAME" in problem.remedy
