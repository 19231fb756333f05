"""Windows against the whole log in memory, and what is left where shards are lost."""

import gc
import logging
import shutil
import tracemalloc
import weakref
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path

import fsspec
import numpy as np
import pytest

from gensr_dist.data.events import Behaviour
from gensr_dist.data.negatives.exposures import Exposures
from gensr_dist.data.negatives.sampling import SeenPairs
from gensr_dist.data.shards.manifest import Manifest
from gensr_dist.data.shards.store import TimelineStore
from gensr_dist.data.timelines.histories import Histories
from gensr_dist.data.timelines.rows import evaluation_rows, training_rows
from gensr_dist.data.timelines.splits import Split
from gensr_dist.data.timelines.timelines import Timelines
from gensr_dist.errors import InputError
from gensr_dist.storage.cache import Cache
from gensr_dist.storage.folder import Folder
from tests.data.timeline_folders import ITEMS, random_negatives, random_timelines, write_folder

USERS, SHARDS = 35, 9  # 4 users a shard, 3 in the last
TIMELINES = random_timelines(11, users=USERS, events=700)
NEGATIVE_RC = random_negatives(TIMELINES)
HISTORIES = Histories.from_timelines(TIMELINES)
ROWS = training_rows(TIMELINES)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Do not change it."""
    folder = tmp_path_factory.mktemp("store") / "shards"
    write_folder(folder, TIMELINES, NEGATIVE_RC, users_per_shard=4)
    return folder


@pytest.fixture
def quick_collections() -> Iterator[None]:
    """Leave what exists now, torch above all, out of the collections of a test."""
    gc.freeze()
    yield
    gc.unfreeze()


def opened(folder: Path, shuffle_shards: int = 64, **settings) -> TimelineStore:
    return TimelineStore.open(Folder.at(folder), shuffle_shards=shuffle_shards, **settings)


WINDOWS = pytest.mark.parametrize("shuffle_shards", [1, 2, 4, 9, 64])


@WINDOWS
def test_windows_are_the_log_in_parts(folder: Path, shuffle_shards: int) -> None:
    store = opened(folder, shuffle_shards)
    assert (store.users, store.items, store.lost) == (USERS, ITEMS, ())
    windows = list(store.windows())
    assert len(windows) == len(store.window_rows) == -(-SHARDS // shuffle_shards)
    assert windows[0].first_user == windows[0].first_event == windows[0].first_row == windows[0].first_interaction == 0
    for name in ("item_N", "time_N", "query_N", "behaviour_N", "positive_N", "split_N"):
        joined = np.concatenate([getattr(window.timelines, name) for window in windows])
        assert np.array_equal(joined, getattr(TIMELINES, name))
        assert joined.dtype == getattr(TIMELINES, name).dtype
    for window, rows in zip(windows, store.window_rows, strict=True):
        users = slice(window.first_user, window.first_user + window.timelines.users + 1)
        assert np.array_equal(window.timelines.user_start_V + window.first_event, TIMELINES.user_start_V[users])
        start_V = window.histories.user_start_V + window.first_interaction
        assert np.array_equal(start_V, HISTORIES.user_start_V[users])
        span = slice(window.first_row, window.first_row + rows)
        assert np.array_equal(window.training_event_R + window.first_event, ROWS[span])
        seen = SeenPairs.from_timelines(window.timelines, ITEMS, Split.TRAIN)
        assert np.array_equal(window.seen_in_training.key_K, seen.key_K)
        assert np.array_equal(window.exposures.item_E, Exposures.from_timelines(window.timelines).item_E)
    assert sum(store.window_rows) == len(ROWS)
    assert windows[-1].first_user + windows[-1].timelines.users == USERS


@WINDOWS
def test_parts_hold_every_row_and_user_once(folder: Path, shuffle_shards: int) -> None:
    store = opened(folder, shuffle_shards)
    draw = np.random.default_rng(0)
    row_R = draw.permutation(len(ROWS))[:50]
    event_R = np.full(len(row_R), -1)
    for window, place_P in store.parts_of_rows(row_R):
        assert (event_R[place_P] == -1).all()
        event_R[place_P] = window.training_event_R[row_R[place_P] - window.first_row] + window.first_event
    assert np.array_equal(event_R, ROWS[row_R])
    user_R = draw.integers(0, USERS, 60)
    count_R = np.full(len(user_R), -1)
    for window, place_P in store.parts_of_users(user_R):
        assert (count_R[place_P] == -1).all()
        count_R[place_P] = np.diff(window.timelines.user_start_V)[user_R[place_P] - window.first_user]
    assert np.array_equal(count_R, np.diff(TIMELINES.user_start_V)[user_R])
    none = np.empty(0, dtype=np.int64)
    assert all(not len(place_P) for _, place_P in store.parts_of_rows(none))


@WINDOWS
def test_histories_across_windows(folder: Path, shuffle_shards: int) -> None:
    store = opened(folder, shuffle_shards)
    draw = np.random.default_rng(1)
    user_G = draw.permutation(USERS)
    start_G, end_G = store.history_span(user_G)
    assert np.array_equal(start_G, HISTORIES.user_start_V[user_G])
    assert np.array_equal(end_G, HISTORIES.user_start_V[user_G + 1])
    some_G = draw.integers(start_G, end_G + 1)
    for length in (0, 1, 7, 100):
        item_GL, behaviour_GL = store.gather_histories(user_G, some_G, length)
        expected_item_GL, expected_behaviour_GL = HISTORIES.gather(user_G, some_G, length)
        assert np.array_equal(item_GL, expected_item_GL)
        assert np.array_equal(behaviour_GL, expected_behaviour_GL)
        assert (item_GL.dtype, behaviour_GL.dtype) == (np.int64, np.int64)


@WINDOWS
@pytest.mark.parametrize("split", [Split.VALID, Split.TEST])
@pytest.mark.parametrize("task", list(Behaviour))
def test_evaluation_rows_one_by_one(folder: Path, shuffle_shards: int, split: Split, task: Behaviour) -> None:
    rows = opened(folder, shuffle_shards).eval_rows(split, task)
    events = evaluation_rows(TIMELINES).tolist()
    expected = [e for e in events if (TIMELINES.split_N[e], TIMELINES.behaviour_N[e]) == (split, task)]
    assert rows.event_R.tolist() == expected
    assert len(expected) > 5
    for row, event in enumerate(expected):
        user = int(rows.user_R[row])
        assert TIMELINES.user_start_V[user] <= event < TIMELINES.user_start_V[user + 1]
        assert (rows.task_R[row], rows.query_R[row]) == (task, TIMELINES.query_N[event])
        assert rows.candidate_RC[row, 0] == TIMELINES.item_N[event]
        assert rows.candidate_RC[row, 1:].tolist() == sorted(NEGATIVE_RC[events.index(event)].tolist())
        positive = range(TIMELINES.user_start_V[user], event)
        earlier = {
            (TIMELINES.time_N[e], TIMELINES.item_N[e])
            for e in positive
            if TIMELINES.positive_N[e] and TIMELINES.time_N[e] < TIMELINES.time_N[event]
        }
        assert rows.history_end_R[row] - HISTORIES.user_start_V[user] >= len(earlier)
        assert rows.history_end_R[row] == HISTORIES.end_of_event_N[event]
    assert all(getattr(rows, field.name).dtype == np.int64 for field in fields(rows))


@pytest.mark.usefixtures("quick_collections")
def test_only_two_windows_are_kept(folder: Path) -> None:
    store = opened(folder, 1)
    seen: list[weakref.ref] = []
    for number, window in enumerate(store.windows()):
        seen.append(weakref.ref(window))
        del window
        gc.collect()
        assert [ref() is not None for ref in seen] == [n >= number - 1 for n in range(number + 1)]
    last, before = seen[-1](), seen[-2]()
    assert store.window(SHARDS - 2) is before
    assert store.window(0) is not last  # the one that was used longest ago goes
    del last
    gc.collect()
    assert seen[-1]() is None
    assert seen[-2]() is before


@pytest.mark.usefixtures("quick_collections")
def test_memory_does_not_grow_with_the_number_of_shards(tmp_path: Path) -> None:
    """The same window of a log of 10 and of 80 shards."""
    peaks = {}
    for shards in (10, 80):
        part = random_timelines(2, users=10, events=4_000)
        timelines = Timelines(
            user_start_V=np.concatenate(
                [[0], *(part.user_start_V[1:] + n * len(part.item_N) for n in range(shards))]
            ).astype(np.int64),
            **{
                field.name: np.tile(getattr(part, field.name), shards)
                for field in fields(Timelines)
                if field.name.endswith("_N")
            },
        )
        folder = tmp_path / str(shards)
        write_folder(folder, timelines, random_negatives(timelines), users_per_shard=10, users_per_sample=10)
        store = opened(folder, 2)
        next(store.windows())
        gc.collect()
        tracemalloc.start()
        for window in store.windows():
            _ = window.histories, window.training_event_R
            gc.collect()  # the small objects of tarfile
        peaks[shards] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peaks[80] < 1.1 * peaks[10]


def lose(folder: Path, *numbers: int) -> None:
    for number in numbers:
        (folder / f"shard-{number:05d}.tar").unlink()


def test_lost_shards_leave_users_without_events(folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    damaged = Path(shutil.copytree(folder, tmp_path / "shards"))
    lose(damaged, 2)
    flipped = bytearray((damaged / "shard-00005.tar").read_bytes())
    flipped[3_000] ^= 4
    (damaged / "shard-00005.tar").write_bytes(flipped)
    with pytest.raises(InputError, match=r"shard-00002\.tar: the manifest lists this file, but it is missing"):
        opened(damaged)
    with caplog.at_level(logging.WARNING, "gensr_dist.data"):
        store = opened(damaged, 2, on_corrupt="skip")

    gone = set(range(8, 12)) | set(range(20, 24))
    events = {user: int(np.diff(TIMELINES.user_start_V)[user]) for user in range(USERS)}
    row_user_R = TIMELINES.user_of(ROWS)
    assert [(shard.name, shard.users, shard.events, shard.training_rows) for shard in store.lost] == [
        (
            f"shard-{first // 4:05d}.tar",
            4,
            sum(events[user] for user in range(first, first + 4)),
            int(((row_user_R >= first) & (row_user_R < first + 4)).sum()),
        )
        for first in (8, 20)
    ]
    assert [shard.problem.split(",")[0].split(":")[0] for shard in store.lost] == [
        "the manifest lists this file",
        "the file was changed",
    ]
    assert [record.getMessage() for record in caplog.records] == [str(shard) for shard in store.lost]
    assert f"lost are {store.lost[0].events:,} events of 4 users, " in caplog.records[0].getMessage()

    kept = [user for user in range(USERS) if user not in gone]
    items = [TIMELINES.item_N[slice(*TIMELINES.user_start_V[user : user + 2])] for user in kept]
    assert np.array_equal(
        np.concatenate([window.timelines.item_N for window in store.windows()]), np.concatenate(items)
    )
    assert sum(store.window_rows) == sum(user not in gone for user in row_user_R.tolist())
    user_G = np.arange(USERS)
    start_G, end_G = store.history_span(user_G)
    expected = np.where(np.isin(user_G, list(gone)), 0, np.diff(HISTORIES.user_start_V))
    assert np.array_equal(end_G - start_G, expected)
    item_GL, _ = store.gather_histories(user_G, end_G, 5)
    expected_GL, _ = HISTORIES.gather(user_G, HISTORIES.user_start_V[1:], 5)
    assert np.array_equal(item_GL[kept], expected_GL[kept])
    assert (item_GL[sorted(gone)] == -1).all()
    rows, whole = (s.eval_rows(Split.TEST, Behaviour.SEARCH) for s in (store, TimelineStore.open(Folder.at(folder))))
    still = whole.take(np.flatnonzero(~np.isin(whole.user_R, list(gone))))
    assert len(still) < len(whole)
    assert np.array_equal(rows.user_R, still.user_R)
    assert np.array_equal(rows.candidate_RC, still.candidate_RC)
    assert np.array_equal(
        rows.history_end_R - start_G[rows.user_R], still.history_end_R - HISTORIES.user_start_V[rows.user_R]
    )
    joined = np.concatenate([window.timelines.item_N for window in store.windows()])
    assert np.array_equal(joined[rows.event_R], rows.candidate_RC[:, 0])


def test_a_lost_window_has_no_rows(folder: Path, tmp_path: Path) -> None:
    damaged = Path(shutil.copytree(folder, tmp_path / "shards"))
    lose(damaged, 2, 3, SHARDS - 1)
    store = opened(damaged, 2, on_corrupt="skip")
    assert [rows == 0 for rows in store.window_rows] == [False, True, False, False, True]
    row_R = np.arange(sum(store.window_rows))
    assert sorted(np.concatenate([place_P for _, place_P in store.parts_of_rows(row_R)]).tolist()) == row_R.tolist()
    assert len(store.window(1).histories.item_M) == 0
    assert store.window(1).timelines.users == 8


def test_nothing_left_is_an_error(folder: Path, tmp_path: Path) -> None:
    damaged = Path(shutil.copytree(folder, tmp_path / "shards"))
    lose(damaged, *range(SHARDS))
    with pytest.raises(InputError, match="9 of 9 shards are damaged or missing, and no training row is left"):
        opened(damaged, on_corrupt="skip")


def test_swapped_and_unlisted_shards_are_skipped(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    damaged = Path(shutil.copytree(folder, tmp_path / "shards"))
    (damaged / "shard-00000.tar").rename(damaged / "shard-00100.tar")
    (damaged / "shard-00001.tar").rename(damaged / "shard-00000.tar")
    shutil.copy(damaged / "shard-00100.tar", damaged / "shard-00001.tar")
    with caplog.at_level(logging.WARNING, "gensr_dist.data"):
        store = opened(damaged, on_corrupt="skip")
    assert [shard.name for shard in store.lost] == ["shard-00000.tar", "shard-00001.tar"]
    assert store.lost[1].problem == "shards are out of order: it holds the contents of shard-00000.tar"
    assert "shard-00100.tar is ignored: the manifest does not list this shard" in caplog.text


def edit(folder: Path, change: Callable[[str], str]) -> None:
    path = folder / "manifest.json"
    path.write_text(change(path.read_text()))


def test_a_damaged_manifest_is_never_skipped(folder: Path, tmp_path: Path) -> None:
    damaged = Path(shutil.copytree(folder, tmp_path / "shards"))
    edit(damaged, lambda text: text.replace('"seed": 0', '"seed": 1'))
    with pytest.raises(InputError, match="the manifest was edited"):
        opened(damaged, on_corrupt="skip")


def test_damage_after_opening_stops(folder: Path, tmp_path: Path) -> None:
    damaged = Path(shutil.copytree(folder, tmp_path / "shards"))
    store = opened(damaged, 1, on_corrupt="skip")
    path = damaged / "shard-00003.tar"
    content = bytearray(path.read_bytes())
    content[2_000] ^= 1
    path.write_bytes(content)
    store.window(2)
    with pytest.raises(InputError, match=r"shard-00003\.tar: the file was changed"):
        store.window(3)


@pytest.fixture
def remote(folder: Path, tmp_path: Path) -> Folder:
    """The same folder in fsspec's memory, read through a cache that holds a window of two shards but not all."""
    sizes = {path.name: path.stat().st_size for path in folder.glob("*.tar")}
    storage = fsspec.filesystem("memory")
    place = f"/{tmp_path.name}"
    for path in (path for path in folder.rglob("*") if path.is_file()):
        storage.pipe_file(f"{place}/{path.relative_to(folder).as_posix()}", path.read_bytes())
    return Folder.at(f"memory:/{place}", Cache(tmp_path / "cache", 3 * max(sizes.values())))


def test_a_remote_folder_is_read_through_a_small_cache(remote: Folder) -> None:
    store = TimelineStore.open(remote, shuffle_shards=2)
    for _ in range(2):
        joined = np.concatenate([window.timelines.time_N for window in store.windows()])
        assert np.array_equal(joined, TIMELINES.time_N)
    rows = store.eval_rows(Split.TEST, Behaviour.SEARCH)
    assert np.array_equal(rows.candidate_RC[:, 0], TIMELINES.item_N[rows.event_R])
    assert remote.cache is not None
    assert sum(path.stat().st_size for path in remote.cache.folder.iterdir()) <= remote.cache.limit


def test_damage_of_a_remote_folder(remote: Folder) -> None:
    storage = fsspec.filesystem("memory")
    place = remote.place.removeprefix("memory:/")
    storage.rm_file(f"{place}/shard-00004.tar")
    content = bytearray(storage.cat_file(f"{place}/shard-00006.tar"))
    storage.pipe_file(f"{place}/shard-00005.tar", bytes(content[:-512]))
    content[700] ^= 1
    storage.pipe_file(f"{place}/shard-00006.tar", bytes(content))
    with pytest.raises(InputError, match=r"shard-00004\.tar: the manifest lists this file, but it is missing"):
        TimelineStore.open(remote)
    store = TimelineStore.open(remote, shuffle_shards=1, on_corrupt="skip")
    assert [shard.name for shard in store.lost] == ["shard-00004.tar", "shard-00005.tar", "shard-00006.tar"]
    assert all(store.window(number).timelines.users == 4 for number in (3, 4, 5, 6))
    assert not len(store.window(6).timelines.item_N)


def test_damaged_bytes_of_a_remote_shard_stop_when_they_arrive(remote: Folder) -> None:
    storage = fsspec.filesystem("memory")
    place = remote.place.removeprefix("memory:/")
    content = bytearray(storage.cat_file(f"{place}/shard-00006.tar"))
    size = len(content)
    content[700] ^= 1
    storage.pipe_file(f"{place}/shard-00006.tar", bytes(content))
    same_size = [r.name for r in Manifest.read(remote).shards if r.bytes == size and r.name != "shard-00006.tar"]
    storage.pipe_file(f"{place}/{same_size[0]}", storage.cat_file(f"{place}/{same_size[1]}"))
    store = TimelineStore.open(remote, shuffle_shards=1)
    with pytest.raises(InputError, match=r"shard-00006\.tar: the file was changed"):
        store.window(6)
    with pytest.raises(InputError, match=rf"{same_size[0]}: shards are out of order: .* contents of {same_size[1]}"):
        store.window(int(same_size[0][6:11]))
