"""Drawn training rows against the whole log, read by the definition."""

from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gensr_dist.data.events import Behaviour
from gensr_dist.data.shards.store import TimelineStore
from gensr_dist.data.timelines.histories import Histories
from gensr_dist.data.timelines.rows import EvalRows, training_rows
from gensr_dist.data.timelines.timelines import Timelines
from gensr_dist.data.training_sample import draw_training_rows
from gensr_dist.errors import InputError
from gensr_dist.storage.folder import Folder
from tests.data.timeline_folders import ITEMS, random_negatives, random_timelines, write_folder

BOTH = {Behaviour.RECOMMENDATION: 20, Behaviour.SEARCH: 15}
EVERY = dict.fromkeys(Behaviour, 10_000)


def stored(folder: Path, timelines: Timelines, shuffle_shards: int = 64) -> TimelineStore:
    if not folder.exists():
        write_folder(folder, timelines, random_negatives(timelines), users_per_shard=4)
    return TimelineStore.open(Folder.at(folder), shuffle_shards=shuffle_shards)


@pytest.fixture(scope="module")
def timelines() -> Timelines:
    return random_timelines(11, users=35, events=700)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, timelines: Timelines) -> Path:
    folder = tmp_path_factory.mktemp("sample") / "shards"
    stored(folder, timelines)
    return folder


def with_history(timelines: Timelines, task: Behaviour) -> list[int]:
    """Training events of a task before which their user had a strictly earlier positive one."""
    user_N, time_N, positive_N = timelines.user_N, timelines.time_N, timelines.positive_N
    return [
        event
        for event in training_rows(timelines).tolist()
        if timelines.behaviour_N[event] == task
        and (positive_N & (user_N == user_N[event]) & (time_N < time_N[event])).any()
    ]


def check(rows: EvalRows, task: Behaviour, timelines: Timelines, negatives: int) -> None:
    user_N, histories = timelines.user_N, Histories.from_timelines(timelines)
    assert np.array_equal(rows.user_R, user_N[rows.event_R])
    assert (rows.task_R == task).all()
    assert np.array_equal(rows.query_R, timelines.query_N[rows.event_R])
    assert np.array_equal(rows.history_end_R, histories.end_of_event_N[rows.event_R])
    assert np.array_equal(rows.candidate_RC[:, 0], timelines.item_N[rows.event_R])
    for user, drawn in zip(rows.user_R.tolist(), rows.candidate_RC[:, 1:].tolist(), strict=True):
        seen = set(timelines.item_N[user_N == user].tolist())  # in every split, clicked or only shown
        assert len(set(drawn)) == len(drawn) == negatives
        assert not seen & set(drawn)
        assert 0 <= min(drawn) <= max(drawn) < ITEMS
    assert all(getattr(rows, field.name).dtype == np.int64 for field in fields(rows))


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 2**40),
    shuffle_shards=st.sampled_from([1, 2, 4, 64]),
    counts=st.dictionaries(st.sampled_from(list(Behaviour)), st.integers(0, 40), min_size=1),
    negatives=st.integers(1, 8),
)
def test_drawn_rows_are_training_rows_as_training_shows_them(
    folder: Path, timelines: Timelines, seed: int, shuffle_shards: int, counts: dict[Behaviour, int], negatives: int
) -> None:
    store = stored(folder, timelines, shuffle_shards)
    drawn = draw_training_rows(store, counts, seed, negatives)
    again = draw_training_rows(stored(folder, timelines), counts, seed, negatives)
    assert drawn.keys() == counts.keys()
    for task, count in counts.items():
        rows, possible = drawn[task], with_history(timelines, task)
        assert rows.candidate_RC.shape == (min(count, len(possible)), 1 + negatives)
        assert set(rows.event_R.tolist()) <= set(possible)
        assert (np.diff(rows.event_R) > 0).all()
        check(rows, task, timelines, negatives)
        for field in fields(rows):  # whatever the windows
            assert np.array_equal(getattr(rows, field.name), getattr(again[task], field.name)), field.name


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**20), users=st.integers(1, 12), events=st.integers(0, 60))
def test_all_rows_of_small_logs(tmp_path_factory: pytest.TempPathFactory, seed: int, users: int, events: int) -> None:
    timelines = random_timelines(seed, users, events)
    store = stored(tmp_path_factory.mktemp("log") / "shards", timelines, 1)
    for task, rows in draw_training_rows(store, EVERY, seed, 3).items():
        assert rows.event_R.tolist() == with_history(timelines, task)
        if len(rows):
            check(rows, task, timelines, 3)


def test_histories_are_those_of_training_rows(folder: Path, timelines: Timelines) -> None:
    """Read from another window size than drawn with, by global numbers."""
    rows = draw_training_rows(stored(folder, timelines, 2), BOTH, 3, 4)[Behaviour.SEARCH]
    item_GL, _ = stored(folder, timelines, 1).gather_histories(rows.user_R, rows.history_end_R, 50)
    for row, event in enumerate(rows.event_R.tolist()):
        earlier = (timelines.user_N == timelines.user_N[event]) & (timelines.time_N < timelines.time_N[event])
        shown = [item for item in item_GL[row].tolist() if item >= 0]
        assert set(shown) == set(timelines.item_N[earlier & timelines.positive_N].tolist())
        assert shown


def test_seeds_draw_other_rows_and_negatives(folder: Path, timelines: Timelines) -> None:
    store = stored(folder, timelines)
    first, second = (draw_training_rows(store, BOTH, seed, 4)[Behaviour.RECOMMENDATION] for seed in (1, 2))
    assert set(first.event_R.tolist()) != set(second.event_R.tolist())
    every = [draw_training_rows(store, EVERY, seed, 4)[Behaviour.RECOMMENDATION] for seed in (1, 2)]
    assert np.array_equal(every[0].event_R, every[1].event_R)
    assert not np.array_equal(every[0].candidate_RC, every[1].candidate_RC)


def test_every_row_is_drawn_equally_often(folder: Path, timelines: Timelines) -> None:
    store = stored(folder, timelines, 2)
    possible = with_history(timelines, Behaviour.RECOMMENDATION)
    times = np.zeros(len(timelines.item_N), dtype=np.int64)
    draws = 300
    for seed in range(draws):
        times[draw_training_rows(store, {Behaviour.RECOMMENDATION: 20}, seed, 1)[Behaviour.RECOMMENDATION].event_R] += 1
    expected = draws * 20 / len(possible)
    assert times.sum() == draws * 20
    assert np.abs(times[possible] - expected).max() < 5 * expected**0.5


def test_each_window_is_read_once(folder: Path, timelines: Timelines, monkeypatch: pytest.MonkeyPatch) -> None:
    store = stored(folder, timelines, 1)
    decoded: list[object] = []
    decode = TimelineStore._timelines
    monkeypatch.setattr(TimelineStore, "_timelines", lambda *given: decoded.append(given) or decode(*given))
    draw_training_rows(store, BOTH, 0, 4)
    assert len(decoded) == len(store.window_rows) > 4


def test_a_user_who_met_nearly_everything_is_refused(folder: Path, timelines: Timelines) -> None:
    with pytest.raises(InputError, match=f"a user has seen .* of {ITEMS} items"):
        draw_training_rows(stored(folder, timelines), EVERY, 0, ITEMS - 3)


@pytest.mark.parametrize("newest", [1, 2])
def test_of_the_newest_rows_alone(folder: Path, timelines: Timelines, newest: int) -> None:
    drawn = draw_training_rows(stored(folder, timelines, 2), EVERY, 3, 2, newest=newest)
    for task, rows in drawn.items():
        event_R = training_rows(timelines)
        expected = []
        for event in with_history(timelines, task):
            own_N = (timelines.user_N[event_R] == timelines.user_N[event]) & (timelines.behaviour_N[event_R] == task)
            if event in event_R[own_N][-newest:]:
                expected.append(event)
        assert rows.event_R.tolist() == expected
        assert 0 < len(expected) < len(with_history(timelines, task))
