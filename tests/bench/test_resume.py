import hashlib

import pytest

from gensr_dist.bench.resume import Attempt, attempts_of, bench_resume, rows_lost_and_repeated
from gensr_dist.data.batches.dealing import DealtOrder
from gensr_dist.data.batches.order import PADDING, SampleOrder
from gensr_dist.train.events import Event

STEPS = 10
ORDER = DealtOrder(
    SampleOrder([50], 16, 3), lambda row_R: row_R % 7 + 1, micro_tokens=0
)  # the last step of an epoch is short


def digests(order: DealtOrder = ORDER, rank: int = 0, ranks: int = 1) -> dict[int, str]:
    found = {}
    for step in range(STEPS):
        row_G = order.rows_of_step(step, ranks)[0][rank]
        found[step + 1] = hashlib.sha256(row_G[row_G != PADDING].tobytes()).hexdigest()
    return found


def attempt(began: int | None, ended: int, rows: dict[int, str] | None = None) -> Attempt:
    named = rows or digests()
    return Attempt(began=began, rows={step: named[step] for step in range((began or 0) + 1, ended + 1)})


@pytest.mark.parametrize("rank", [0, 1])
def test_a_chain_of_checkpoints_loses_and_repeats_nothing(rank: int) -> None:
    named = digests(rank=rank, ranks=2)
    attempts = [
        attempt(0, 5, named),
        attempt(None, 0),  # killed while it started
        attempt(4, 4, named),  # killed before its first step
        attempt(4, 9, named),
        attempt(4, 6, named),  # the checkpoint of step 8 was not whole
        attempt(4, 9, named),
        attempt(8, STEPS, named),
    ]
    assert rows_lost_and_repeated(attempts, ORDER, STEPS, rank=rank, ranks=2) == (0, 0)


def test_rows_that_a_resumed_run_leaves_out_or_sees_again_are_counted() -> None:
    whole = digests()
    shifted = {step: whole[max(1, step - 1)] for step in range(1, STEPS + 1)}  # a resumed run that steps back by one
    back = [attempt(0, 5), attempt(4, STEPS, shifted)]
    # Updates 5 to 10 saw the rows of 4 to 9: the 2 of the short step 4 twice, the 16 of step 10 never.
    assert rows_lost_and_repeated(back, ORDER, STEPS, rank=0, ranks=1) == (16, 2)
    gap = [attempt(0, 3), attempt(4, STEPS)]  # nobody did step 4
    assert rows_lost_and_repeated(gap, ORDER, STEPS, rank=0, ranks=1)[0] > 0
    unknown = [attempt(0, STEPS, {**whole, 7: "0" * 16})]
    assert rows_lost_and_repeated(unknown, ORDER, STEPS, rank=0, ranks=1) == (16, 0)


def test_attempts_are_told_by_events() -> None:
    told = [("start", 0), ("begin", 4), ("rows", 5), ("validation", 5), ("rows", 6), ("start", 0)]
    events = [Event(time=0.0, kind=kind, step=step, digest=f"of {step}") for kind, step in told]
    assert attempts_of(events) == [Attempt(began=4, rows={5: "of 5", 6: "of 6"}), Attempt()]


def test_kills_change_nothing() -> None:
    result = bench_resume(kills=2, ranks=1, seed=1)
    assert result.kills == 2
    assert result.bit_identical
    assert (result.rows_lost, result.rows_repeated) == (0, 0)
