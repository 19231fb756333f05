from pathlib import Path

import pytest
import torch

from gensr_dist.run.folder import RunFolder
from gensr_dist.train.events import VARIABLE, EventLog, events_path, read_events, rows_digest
from gensr_dist.train.loop import train
from tests.model.builders import random_batch
from tests.train.small_runs import small_config


def test_digest_tells_rows_and_their_order_and_not_padding_and_not_micro_batches() -> None:
    batches = [random_batch(seed, groups=4) for seed in (1, 2)]
    for batch, first in zip(batches, (0, 4), strict=True):
        batch.row_G.copy_(torch.arange(first, first + 4))
    assert rows_digest(batches) != rows_digest(batches[::-1])
    whole = random_batch(3, groups=10)
    whole.row_G.copy_(torch.tensor([0, 1, 2, 3, 4, 5, -1, 6, 7, -1]))
    assert rows_digest([whole]) == rows_digest(batches)


def test_a_line_that_a_killed_start_left_torn_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    file = events_path(tmp_path, 2)
    assert read_events(file) == []
    EventLog(2).add("begin", 4)
    end = file.stat().st_size
    with file.open("a") as torn:
        torn.write('{"time": 17')
    EventLog(2).add("rows", 5, "ab")
    assert [(event.kind, event.step, event.digest) for event in read_events(file)] == [
        ("start", 0, ""),
        ("begin", 4, ""),
        ("start", 0, ""),
        ("rows", 5, "ab"),
    ]
    assert [event.kind for event in read_events(file, start=end)] == ["start", "rows"]


def test_training_tells_them_when_asked_and_makes_no_digest_otherwise(
    small_run: RunFolder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with monkeypatch.context() as patch:
        for name in ("rows_digest", "digest_of_weights"):
            patch.setattr(f"gensr_dist.train.loop.{name}", lambda *_: pytest.fail("nobody asked"))
        train(small_config(steps=2), small_run)
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    train(small_config(steps=4), small_run, resume=False)
    events = read_events(events_path(tmp_path, 0))
    assert [(event.kind, event.step) for event in events] == [
        ("start", 0),
        ("begin", 0),
        ("rows", 1),
        ("rows", 2),
        ("validation", 2),
        ("validated", 2),
        ("checkpoint", 2),
        ("rows", 3),
        ("rows", 4),
        ("validation", 4),
        ("validated", 4),
        ("checkpoint", 4),
        ("weights", 4),
    ]
    assert len({event.digest for event in events if event.kind == "rows"}) == 4
    assert [event.time for event in events] == sorted(event.time for event in events)
