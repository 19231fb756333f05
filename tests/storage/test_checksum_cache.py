"""Notes of checksums: a file that somebody touched is read again, one that nobody touched is not."""

import os
import pwd
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from gensr_dist.errors import InputError
from gensr_dist.storage import checksum_cache
from gensr_dist.storage.cache import Cache
from gensr_dist.storage.checked_files import DamagedError, FileRecord
from gensr_dist.storage.checksum_cache import cached_sha256, clear_checksums, sha256_of_file

SIZE = 1 << 12


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(checksum_cache, "_LEAST", SIZE)
    monkeypatch.setattr(checksum_cache, "_SETTLED_S", 0.0)
    path = tmp_path / "data" / "file"
    path.parent.mkdir()
    path.write_bytes(os.urandom(SIZE))
    time.sleep(0.05)
    return path


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Files that were read."""
    seen: list[Path] = []

    def reading(path: Path) -> str:
        seen.append(path)
        return sha256_of_file(path)

    monkeypatch.setattr(checksum_cache, "sha256_of_file", reading)
    return seen


def rewrite(path: Path) -> None:
    status = path.stat()
    path.write_bytes(os.urandom(SIZE))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))  # as a tool that copies times leaves it


def exchange(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(os.urandom(SIZE))
    shutil.copystat(path, other)
    other.replace(path)


def one_byte(path: Path) -> None:
    with path.open("r+b") as file:
        first = file.read(1)
        file.seek(0)
        file.write(bytes([first[0] ^ 1]))


def test_a_file_is_read_once(file: Path, read: list[Path]) -> None:
    assert cached_sha256(file) == cached_sha256(file) == sha256_of_file(file)
    assert read == [file]
    clear_checksums()
    assert cached_sha256(file) == sha256_of_file(file)
    assert read == [file, file]


@pytest.mark.parametrize("change", [rewrite, exchange, one_byte])
def test_a_changed_file_of_the_same_size_is_found(file: Path, change: Callable[[Path], None]) -> None:
    record = FileRecord(name="file", bytes=SIZE, sha256=sha256_of_file(file))
    assert record.damage(file) is None
    change(file)
    assert isinstance(record.damage(file), DamagedError)


def test_what_changed_just_now_may_change_again_and_gets_no_note(
    file: Path, read: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checksum_cache, "_SETTLED_S", 60.0)
    cached_sha256(file)
    cached_sha256(file)
    assert len(read) == 2


@pytest.mark.parametrize("fault", ["small", "no cache folder", "broken note"])
def test_without_a_note_the_file_is_read(
    file: Path, read: list[Path], fault: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if fault == "small":
        monkeypatch.setattr(checksum_cache, "_LEAST", SIZE + 1)
    elif fault == "no cache folder":
        (tmp_path / "cache").touch()
    else:
        cached_sha256(file)
        for note in checksum_cache._notes().iterdir():
            note.write_text(note.read_text()[:-70])
        read.clear()
    assert cached_sha256(file) == sha256_of_file(file)
    assert read == [file]


def test_a_user_without_a_home_reads_each_time(
    file: Path, read: list[Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def nobody(number: int) -> None:
        raise KeyError(number)

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(pwd, "getpwuid", nobody)
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        cached_sha256(file)
    assert read == [file, file]
    assert [path.name for path in tmp_path.iterdir()] == ["data"]
    with pytest.raises(InputError, match=r"the cache folder cannot be used .*set data.cache"):
        Cache.at("", 1).keep("0" * 64, 1, lambda target: None, "s3://a/b")
