import pytest
import torch

from gensr_dist.train.meter import PhaseClock
from gensr_dist.train.report import TimeReport


def test_where_the_time_went_adds_up(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = PhaseClock(torch.device("cpu"))
    monkeypatch.setattr(clock, "seconds", lambda: dict.fromkeys(
        ("data", "forward", "backward", "update", "communication", "validation", "checkpoint"), 1.0
    ))  # fmt: skip
    monkeypatch.setattr(clock, "total", lambda: 10.0)
    report = TimeReport.of(clock)
    assert report.other == 3.0
    assert sum(vars(report).values()) == 2 * report.total
    assert report.line().startswith("time 10.0 s: data 1.0 s (10%), forward 1.0 s (10%)")
    assert report.line().endswith("other 3.0 s (30%)")
