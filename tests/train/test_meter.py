import time

import pytest
import torch
import torch.distributed as dist
from torch._C._distributed_c10d import Work

from gensr_dist.processes import join_processes
from gensr_dist.train import meter
from gensr_dist.train.meter import PHASES, PhaseClock, RowDigest
from tests.model.builders import random_batch

CPU = torch.device("cpu")


def test_each_second_counts_once(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(meter.time, "perf_counter", lambda: now[0])
    clock = PhaseClock(CPU)
    with clock.phase("data"):
        now[0] += 1
    now[0] += 2
    for _ in range(2):
        with clock.phase("backward"):
            now[0] += 4
            with clock.phase("communication"):
                now[0] += 8
    seconds = clock.seconds()
    assert tuple(seconds) == PHASES
    assert {phase: value for phase, value in seconds.items() if value} == {
        "data": 1.0,
        "backward": 8.0,
        "communication": 16.0,
    }
    assert clock.total() == 27.0


def test_waiting_for_collectives_counts_inside_a_step_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    join_processes()
    before = Work.wait

    def slow_wait(work: Work, *arguments: object) -> bool:
        time.sleep(0.05)
        return before(work, *arguments)

    monkeypatch.setattr(Work, "wait", slow_wait)
    clock = PhaseClock(CPU)
    with clock.collectives():
        with clock.phase("validation"):
            dist.all_reduce(torch.ones(1))
        dist.all_reduce(torch.ones(1))
        assert clock.seconds()["communication"] == 0
        with clock.phase("update"):
            dist.all_reduce(torch.ones(1))
            dist.all_reduce(torch.ones(1), async_op=True).wait()
    assert clock.seconds()["communication"] >= 0.1
    assert clock.seconds()["update"] < clock.seconds()["communication"]
    assert Work.wait is slow_wait


def test_digest_tells_rows_and_their_order_and_not_padding() -> None:
    batches = [random_batch(seed, groups=4) for seed in (1, 2)]
    for batch, first in zip(batches, (0, 4), strict=True):
        batch.row_G.copy_(torch.arange(first, first + 4))
    digest = RowDigest()
    digest.see(batches[0])
    digest.see(batches[1])
    both = digest.digest()
    assert len(both) == 16
    digest.see(batches[1])
    digest.see(batches[0])
    assert digest.digest() != both
    whole = random_batch(3, groups=10)
    whole.row_G.copy_(torch.tensor([0, 1, 2, 3, 4, 5, -1, 6, 7, -1]))
    digest.see(whole)
    assert digest.digest() == both
