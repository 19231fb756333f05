"""`gensr bench answer` on a small run: parts add up, and every channel is timed."""

import dataclasses
import json
from pathlib import Path

import pytest

from gensr_dist.bench.answer import bench_answer
from gensr_dist.errors import InputError
from gensr_dist.runs.folder import RunFolder
from tests.retrieval.conftest import indexed, run  # noqa: F401


def test_times_of_answers(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    def unchecked(*arguments: object) -> None:
        assert "index" in arguments  # the run was made without records of its stages

    for check in ("check_consistent", "check_config"):
        monkeypatch.setattr(f"gensr_dist.interface.{check}", unchecked)
    times = bench_answer(run.root, answers=5)
    assert times.candidates == 25
    assert times.tasks.keys() == {"rec", "search"}
    for name, task in times.tasks.items():
        assert task.count == 5
        assert 0 < task.p50_ms <= task.p99_ms
        assert list(task.parts_ms) == ["history", "candidates", "gensr", "order"]
        assert all(ms > 0 for ms in task.parts_ms.values())
        assert ("clicks" in task.channels_ms) == (name == "search")
        assert "tower" in task.channels_ms
    assert json.loads(json.dumps(dataclasses.asdict(times)))["tasks"]["rec"]["count"] == 5
    assert sum("p50" in line for line in times.lines()) == 2


def test_a_run_that_is_not_finished(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such run folder"):
        bench_answer(tmp_path / "none", answers=3)
