import errno
import os
import socket
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from gensr_dist.errors import InputError
from gensr_dist.storage.durable import durable_file, durable_folder, sweep
from gensr_dist.storage.records import write_json

HOST = socket.gethostname().replace(".", "_")


@pytest.fixture(params=[0o022, 0o002, 0o077])
def mode(request: pytest.FixtureRequest) -> Iterator[int]:
    """What the umask leaves of a new file's mode."""
    before = os.umask(request.param)
    yield 0o666 & ~request.param
    os.umask(before)


def modes(folder: Path) -> set[int]:
    return {stat.S_IMODE(path.stat().st_mode) for path in folder.rglob("*") if path.is_file()}


def only_for_its_owner(path: Path) -> None:
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        file.write(b"x")
    Path(file.name).replace(path)


def test_files_have_the_mode_of_the_umask_however_they_were_written(tmp_path: Path, mode: int) -> None:
    with durable_file(tmp_path / "files" / "a") as temporary:
        only_for_its_owner(temporary)
    write_json(tmp_path / "files" / "b.json", {})
    with durable_folder(tmp_path / "files" / "folder") as folder:
        (folder / "below").mkdir()
        only_for_its_owner(folder / "below" / "c")
        save_file({"x": torch.zeros(2)}, folder / "d.safetensors")
    assert modes(tmp_path / "files") == {mode}
    assert {path.name for path in (tmp_path / "files").rglob("*")} == {
        "a",
        "b.json",
        "folder",
        "below",
        "c",
        "d.safetensors",
    }


def test_all_is_on_the_disk_before_the_name_and_the_name_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda file: synced.append(Path(f"/proc/self/fd/{file}").readlink().name))
    with durable_folder(tmp_path / "a") as folder:
        (folder / "below").mkdir()
        (folder / "below" / "b").write_bytes(b"b")
    temporary = f".a.{HOST}.{os.getpid()}.tmp"
    assert synced == ["below", "b", temporary, tmp_path.name]
    synced.clear()
    with durable_file(tmp_path / "c") as file:
        file.write_bytes(b"c")
    assert synced == [f".c.{HOST}.{os.getpid()}.tmp", tmp_path.name]


def test_what_dead_processes_left_is_deleted_and_what_living_ones_write_stays(tmp_path: Path) -> None:
    dead, living = 2**22 + 1, os.getppid()  # process ids end below 2**22
    names = [
        f".a.{HOST}.{dead}.tmp",
        f".a.{HOST}.{dead}.old",
        f".a.{HOST}.{living}.tmp",
        f".b.{HOST}.{dead}.tmp",
        ".a.tmp",
    ]
    for name in names:
        (tmp_path / name).mkdir()
    with durable_folder(tmp_path / "a"):
        pass
    assert {path.name for path in tmp_path.iterdir()} == {"a", *names[2:]}


def killed_between_the_renames(folder: Path) -> None:
    dead = 2**22 + 1
    for name in (f".a.{HOST}.{dead}.tmp", f".a.{HOST}.{dead}.old"):
        (folder / name).mkdir()
        (folder / name / "file").write_text(name[-3:])


def test_what_a_killed_process_put_aside_is_there_again(tmp_path: Path) -> None:
    killed_between_the_renames(tmp_path)
    with pytest.raises(ValueError, match="fails too"), durable_folder(tmp_path / "a"):
        raise ValueError("fails too")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a" / "file").read_text() == "old"


def test_a_folder_that_cannot_take_its_name_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with durable_folder(tmp_path / "a") as folder:
        (folder / "file").write_text("old")
    rename = Path.rename

    def fails(path: Path, target: Path) -> Path:
        if path.suffix == ".tmp":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", fails)
    with pytest.raises(OSError, match="Input/output"), durable_folder(tmp_path / "a") as folder:
        (folder / "file").write_text("new")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a" / "file").read_text() == "old"


def test_an_error_names_the_file_that_was_asked_for(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with (
        pytest.raises(OSError, match=r"Is a directory|not empty|exists") as caught,
        durable_file(tmp_path / "a") as file,
    ):
        file.write_text("new")
    assert caught.value.filename == str(tmp_path / "a")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_what_another_host_writes_stays_for_a_day(tmp_path: Path) -> None:
    """Process ids of hosts that share a disk say nothing of each other."""
    dead = 2**22 + 1
    fresh, left = (tmp_path / f".a.other-host.{dead + more}.tmp" for more in range(2))
    for folder in (fresh, left):
        folder.mkdir()
    yesterday = time.time() - 25 * 3_600
    os.utime(left, (yesterday, yesterday))
    sweep(tmp_path / "a")
    assert [path.name for path in tmp_path.iterdir()] == [fresh.name]


def test_what_was_put_aside_for_a_folder_that_is_there_is_deleted(tmp_path: Path) -> None:
    killed_between_the_renames(tmp_path)
    (tmp_path / "a").mkdir()
    sweep(tmp_path / "a")
    assert [path.name for path in tmp_path.rglob("*")] == ["a"]


def test_a_mount_point_is_refused_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "is_mount", lambda path: path == tmp_path / "disk")
    (tmp_path / "disk").mkdir()
    with (
        pytest.raises(InputError, match=r"disk: it is a mount point, which cannot .*; give a folder below it$"),
        durable_folder(tmp_path / "disk"),
    ):
        raise AssertionError("the work began")
    with durable_folder(tmp_path / "disk" / "below"):
        pass
    assert [path.name for path in tmp_path.rglob("*")] == ["disk", "below"]


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP])
def test_a_file_system_that_cannot_sync_is_written_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def cannot(file: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", cannot)
    write_json(tmp_path / "a.json", 1)
    with durable_folder(tmp_path / "b") as folder:
        (folder / "c").write_text("c")
    assert (tmp_path / "a.json").read_text() == "1\n"
    assert (tmp_path / "b" / "c").read_text() == "c"


def test_what_killed_processes_left_of_a_file_is_swept(tmp_path: Path) -> None:
    with subprocess.Popen(["true"]) as ended:
        pass
    for name in (f".a.{HOST}.{ended.pid}.tmp", f".a.{HOST}.{os.getpid()}.tmp", f".a.b.{HOST}.{ended.pid}.tmp"):
        (tmp_path / name).write_text("half")
    sweep(tmp_path / "a")
    assert {path.name for path in tmp_path.iterdir()} == {
        f".a.{HOST}.{os.getpid()}.tmp",
        f".a.b.{HOST}.{ended.pid}.tmp",
    }
