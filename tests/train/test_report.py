import pytest
import torch

from gensr_dist.train.meter import PhaseClock
from gensr_dist.train.objective import LossValues
from gensr_dist.train.report import StepReport, TimeReport


def test_a_step_is_a_line_with_each_loss_and_what_is_minimised() -> None:
    report = StepReport(
        steps=3,
        losses=LossValues(task=0.5, contrastive=1.25, match=2.0),
        total=1.1125,
        learning_rate=1e-3,
        gradient_norm=0.75,
        candidates_per_second=1_000.0,
        tokens_per_second=5_000.0,
        wait_share=0.1,
        memory_gb=1.0,
        cuda_memory_gb=0.0,
    )
    assert report.line(10, candidates=1_000) == (
        "step 3/10  loss 1.1125 (task 0.5000, contrastive 1.2500, match 2.0000)  lr 1.00e-03  grad 0.750"
        "  1,000 candidates/s  wait 10%  eta 0:00:07"
    )


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
