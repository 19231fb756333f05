from pathlib import Path

import pytest

from gensr_dist.runs.folder import RunFolder
from gensr_dist.train.events import VARIABLE, TrainingEvents, events_path, read_events
from gensr_dist.train.loop import train
from tests.train.small_runs import small_config


def test_a_line_that_a_killed_start_left_torn_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    file = events_path(tmp_path, 2)
    assert read_events(file) == []
    TrainingEvents(2).add("begin", 4)
    end = file.stat().st_size
    with file.open("a") as torn:
        torn.write('{"time": 17')
    TrainingEvents(2).add("update", 5, rows=[7, 3])
    assert [(event.kind, event.step, event.rows) for event in read_events(file)] == [
        ("start", 0, ()),
        ("begin", 4, ()),
        ("start", 0, ()),
        ("update", 5, (7, 3)),
    ]
    assert [event.kind for event in read_events(file, start=end)] == ["start", "update"]


def test_training_tells_them_when_asked_and_only_then(
    small_run: RunFolder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with monkeypatch.context() as patch:
        for name in ("rows_of", "digest_of_weights"):
            patch.setattr(f"gensr_dist.train.loop.{name}", lambda *_: pytest.fail("nobody asked"))
        train(small_config(steps=2), small_run)
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    train(small_config(steps=4), small_run, resume=False)
    events = read_events(events_path(tmp_path, 0))
    assert [(event.kind, event.step) for event in events] == [
        ("start", 0),
        ("begin", 0),
        ("update", 1),
        ("update", 2),
        ("validation", 2),
        ("validated", 2),
        ("checkpoint", 2),
        ("update", 3),
        ("update", 4),
        ("validation", 4),
        ("validated", 4),
        ("checkpoint", 4),
        ("weights", 4),
    ]
    rows = [row for event in events if event.kind == "update" for row in event.rows]
    assert len(set(rows)) == len(rows) == 4 * 8
    assert len(events[-1].digest) == 64
    assert [event.time for event in events] == sorted(event.time for event in events)
