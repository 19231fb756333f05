"""Copies of remote files: the limit, the order of eviction, files in use, and processes that die."""

import hashlib
import multiprocessing
import os
import random
import signal
import time
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gensr_dist.errors import InputError
from gensr_dist.storage import cache as cache_module
from gensr_dist.storage.cache import Cache
from tests.waiting import becomes

FORK = multiprocessing.get_context("fork")


@pytest.fixture(autouse=True)
def _nothing_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_module, "_kept", {})


def key(number: int) -> str:
    return hashlib.sha256(content(number)).hexdigest()


def content(number: int, size: int = 10) -> bytes:
    return (hashlib.sha256(str(number).encode()).digest() * (size // 32 + 1))[:size]


def filler(number: int, size: int = 10) -> Callable[[BinaryIO], None]:
    def fill(target: BinaryIO) -> None:
        target.write(content(number, size))

    return fill


def never(_: BinaryIO) -> None:
    raise AssertionError("there is a copy already")


def use(cache: Cache, number: int, size: int = 10) -> bytes:
    with cache.file(key(number), size, filler(number, size), f"s3://b/{number}") as path:
        return path.read_bytes()


def copies(cache: Cache) -> set[str]:
    return {path.name for path in cache.folder.iterdir()} - {"lock"}


def test_the_least_recently_used_goes_first(tmp_path: Path) -> None:
    cache = Cache(tmp_path, 30)
    for number in (1, 2, 3, 1, 4):
        assert use(cache, number) == content(number)
    assert copies(cache) == {key(1), key(3), key(4)}


@settings(max_examples=40)
@given(st.lists(st.integers(0, 7), max_size=40), st.integers(8, 40))
def test_equals_a_plain_lru(tmp_path_factory: pytest.TempPathFactory, wanted: list[int], limit: int) -> None:
    cache = Cache(tmp_path_factory.mktemp("cache"), limit)
    reference: OrderedDict[int, int] = OrderedDict()
    for number in wanted:
        size = number + 1
        downloads: list[int] = []

        def fill(target: BinaryIO, number: int = number, size: int = size, downloads: list[int] = downloads) -> None:
            downloads.append(number)
            target.write(content(number, size))

        with cache.file(key(number), size, fill, "where") as path:
            assert path.read_bytes() == content(number, size)
        assert bool(downloads) == (number not in reference)
        reference.pop(number, None)
        while sum(reference.values()) + size > limit:
            reference.popitem(last=False)
        reference[number] = size
        assert copies(cache) == {key(kept) for kept in reference}


def test_a_file_larger_than_the_limit(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^s3://b/1: the file has .* GB, the cache holds .*data\.cache_gb"):
        use(Cache(tmp_path, 9), 1)


def test_a_file_in_use_is_not_evicted(tmp_path: Path) -> None:
    cache = Cache(tmp_path, 20, patience_s=0.2)
    with cache.file(key(1), 10, filler(1), "where") as path:
        assert [use(cache, number) for number in (2, 3, 4)] == [content(2), content(3), content(4)]
        assert path.read_bytes() == content(1)
        assert copies(cache) == {key(1), key(4)}
        with (
            cache.file(key(4), 10, never, "where"),
            pytest.raises(InputError, match=r"full of files in use; raise data\.cache_gb"),
        ):
            use(cache, 5)
    assert use(cache, 5) == content(5)
    assert copies(cache) == {key(4), key(5)}


def test_files_of_others_stay_and_take_no_room(tmp_path: Path) -> None:
    others = ("photo.jpg", "movie.part", f"{key(1)}.txt", key(1).upper())
    for name in others:
        (tmp_path / name).write_bytes(bytes(100))
    (tmp_path / "folder").mkdir()
    cache = Cache(tmp_path, 20)
    for number in (1, 2, 3):
        assert use(cache, number) == content(number)
    assert copies(cache) == {*others, "folder", key(2), key(3)}


def test_waits_for_a_file_that_another_process_uses(tmp_path: Path) -> None:
    cache = Cache(tmp_path, 10)
    held, free = FORK.Event(), FORK.Event()

    def hold() -> None:
        with cache.file(key(1), 10, filler(1), "where"):
            held.set()
            free.wait(200)

    process = FORK.Process(target=hold)
    process.start()
    assert held.wait(200)
    asked = FORK.Process(target=lambda: os._exit(use(cache, 2) != content(2)))
    asked.start()
    assert becomes(lambda: copies(cache) != {key(1)}), "it has not asked"
    time.sleep(0.3)
    assert copies(cache) == {key(1), f"{key(2)}.part"}
    free.set()
    for each in (process, asked):
        each.join(200)
        assert each.exitcode == 0
    assert copies(cache) == {key(2)}


def test_a_forked_child_does_not_give_up_the_parents_file(tmp_path: Path) -> None:
    cache = Cache(tmp_path, 10, patience_s=0.2)
    block = cache.file(key(1), 10, filler(1), "where")
    with block:
        child = FORK.Process(target=lambda: block.__exit__(None, None, None))
        child.start()
        child.join(200)
        assert child.exitcode == 0
        with pytest.raises(InputError, match="files in use"):
            use(cache, 2)
    assert use(cache, 2) == content(2)


def test_keep_lasts_and_asks_once(tmp_path: Path) -> None:
    cache = Cache(tmp_path, 25)
    path = cache.keep(key(1), 10, filler(1), "where")
    for number in (2, 3, 4):
        use(cache, number)
    assert path.read_bytes() == content(1)
    assert cache.keep(key(1), 10, never, "where") == path
    began = time.monotonic()
    with pytest.raises(InputError, match=r"data\.cache_gb"):  # at once: a kept file is not given back
        use(cache, 5, size=20)
    assert time.monotonic() - began < cache.patience_s / 2


def test_a_failed_download_leaves_nothing(tmp_path: Path) -> None:
    cache = Cache(tmp_path, 20)

    def fail(target: BinaryIO) -> None:
        target.write(b"half")
        raise InputError("s3://b/1", "gone", "look for it")

    with pytest.raises(InputError, match="gone"), cache.file(key(1), 10, fail, "where"):
        pass
    assert copies(cache) == set()
    assert use(cache, 1) == content(1)


def test_a_copy_that_was_cut_is_fetched_again(tmp_path: Path) -> None:
    cache = Cache(tmp_path, 20)
    use(cache, 1)
    os.truncate(tmp_path / key(1), 3)
    assert use(cache, 1) == content(1)


def test_processes_share_one_download(tmp_path: Path) -> None:
    cache, log = Cache(tmp_path / "cache", 20), tmp_path / "log"

    def fill(target: BinaryIO) -> None:
        with log.open("a") as lines:
            lines.write("download\n")
        time.sleep(0.2)
        target.write(content(1))

    def read() -> None:
        with cache.file(key(1), 10, fill, "where") as path:
            assert path.read_bytes() == content(1)
            time.sleep(0.2)

    processes = [FORK.Process(target=read) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(200)
    assert [process.exitcode for process in processes] == [0] * 4
    assert log.read_text() == "download\n"


def test_the_limit_holds_while_processes_hammer(tmp_path: Path) -> None:
    sizes = [1_000 + 500 * number for number in range(12)]
    cache = Cache(tmp_path, 4 * max(sizes))

    def hammer(seed: int) -> None:
        rng = random.Random(seed)
        for _ in range(150):
            number = rng.randrange(len(sizes))
            assert use(cache, number, sizes[number]) == content(number, sizes[number])

    processes = [FORK.Process(target=hammer, args=(seed,)) for seed in range(4)]
    for process in processes:
        process.start()
    largest = 0
    while any(process.is_alive() for process in processes):
        with cache._alone():  # a scan that a rename runs through could count one file twice
            largest = max(largest, sum(path.stat().st_size for path in tmp_path.iterdir() if path.exists()))
        time.sleep(0.002)
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 4
    assert 0 < largest <= cache.limit
    assert all(not name.endswith(".part") for name in copies(cache))


@pytest.mark.parametrize("next_number", [1, 2])
def test_a_killed_download_blocks_nobody(tmp_path: Path, next_number: int) -> None:
    cache = Cache(tmp_path, 15)

    def stuck(target: BinaryIO) -> None:
        target.write(b"half")
        target.flush()
        time.sleep(600)

    def download() -> None:
        with cache.file(key(1), 10, stuck, "where"):
            pass

    process = FORK.Process(target=download)
    process.start()
    part = tmp_path / f"{key(1)}.part"
    assert becomes(lambda: part.exists() and part.read_bytes()[:4] == b"half")
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join(200)
    assert use(cache, next_number) == content(next_number)  # of the same file, or of one that needs its room
    assert copies(cache) == {key(next_number)}


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cannot be used .*set data\.cache to a folder"):
        use(Cache(tmp_path / "file" / "cache", 20), 1)


def test_where_it_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert Cache.at("", 0.5) == Cache(tmp_path / "gensr_dist", 500_000_000)
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Cache.at("", 0.5).folder == tmp_path / ".cache" / "gensr_dist"
    assert Cache.at("~/copies", 0.5).folder == tmp_path / "copies"
