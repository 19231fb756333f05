"""Attempts and what is counted of them, and a run of seconds under fire."""

from types import SimpleNamespace

import pytest

from gensr_dist.bench import commands, resume
from gensr_dist.bench.resume import Attempt, attempts_of, bench_resume, rows_lost_and_repeated
from gensr_dist.train.events import Event
from tests.bench.forked_commands import run_gensr_forked
from tests.forked_ranks import ForkedPython

STEPS = 10
ROWS = {step: tuple(range(16 * step, 16 * step + (2 if step == 4 else 16))) for step in range(1, STEPS + 1)}
WHOLE = [Attempt(began=0, rows=ROWS)]


def attempt(began: int | None, ended: int, rows: dict[int, tuple[int, ...]] = ROWS) -> Attempt:
    return Attempt(began=began, rows={step: rows[step] for step in range((began or 0) + 1, ended + 1)})


def test_a_chain_of_checkpoints_loses_and_repeats_nothing() -> None:
    attempts = [
        attempt(0, 5),
        attempt(None, 0),  # killed while it started
        attempt(4, 4),  # killed before its first step
        attempt(4, 9),
        attempt(4, 6),  # the checkpoint of step 8 was not whole
        attempt(4, 9),
        attempt(8, STEPS),
    ]
    assert rows_lost_and_repeated(WHOLE, attempts) == (0, 0)


def test_rows_that_a_resumed_run_leaves_out_or_sees_again_are_counted() -> None:
    shifted = {step: ROWS[max(1, step - 1)] for step in ROWS}  # a resumed run that steps back by one
    back = [attempt(0, 5), attempt(4, STEPS, shifted)]
    # Updates 5 to 10 saw the rows of 4 to 9: the 2 of the short step 4 twice, the 16 of step 10 never.
    assert rows_lost_and_repeated(WHOLE, back) == (16, 2)
    gap = [attempt(0, 3), attempt(4, STEPS)]  # nobody did step 4
    assert rows_lost_and_repeated(WHOLE, gap)[0] > 0
    other = [attempt(0, STEPS, {**ROWS, 7: tuple(range(1_000, 1_016))})]
    assert rows_lost_and_repeated(WHOLE, other) == (16, 16)


def test_attempts_are_told_by_events() -> None:
    told = [("start", 0), ("begin", 4), ("update", 5), ("validation", 5), ("update", 6), ("start", 0)]
    events = [Event(time=0.0, kind=kind, step=step, rows=(step, 2 * step)) for kind, step in told]
    assert attempts_of(events) == [Attempt(began=4, rows={5: (5, 10), 6: (6, 12)}), Attempt()]


def test_kills_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of processes whose libraries are imported; each start is else seconds longer."""
    monkeypatch.setattr(commands, "run_gensr", run_gensr_forked)
    monkeypatch.setattr(resume, "subprocess", SimpleNamespace(Popen=ForkedPython))
    monkeypatch.setattr(resume, "_TRAIN", resume._TRAIN | {"batch": 8, "validate_rows": 12})
    result = bench_resume(kills=2, ranks=1)
    assert result.kills == 2
    assert result.bit_identical
    assert (result.rows_lost, result.rows_repeated) == (0, 0)
