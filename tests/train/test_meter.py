import time

import pytest
import torch
import torch.distributed as dist
from torch._C._distributed_c10d import Work

from gensr_dist.distributed.ranks import join_processes
from gensr_dist.train import meter
from gensr_dist.train.meter import PHASES, Meter, PhaseClock

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


def test_what_steps_wait_for_their_inputs_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(meter.time, "perf_counter", lambda: now[0])
    clock = PhaseClock(CPU)
    read = Meter(clock, train_seconds=5.0)
    for waited in (3.0, 1.0):
        with read.step():
            with clock.phase("data", behind_the_device=True):
                now[0] += waited
            with clock.phase("forward"):
                now[0] += 2
        speed = read.read()
        assert (speed.waited, speed.seconds) == (waited, waited + 2)
    assert read.train_seconds == 13.0


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize(("host", "expected"), [(0.0, 0.0), (1.0, 1.0)])
def test_behind_a_gpu_only_its_idle_time_counts(host: float, expected: float) -> None:
    clock = PhaseClock(torch.device("cuda"))
    matrix = torch.randn(4_096, 4_096, device="cuda")
    torch.cuda.synchronize()
    with clock.phase("backward"):
        for _ in range(20):
            matrix @ matrix
    with clock.phase("data", behind_the_device=True):
        time.sleep(host)
    seconds = clock.seconds()
    assert seconds["data"] == pytest.approx(max(0.0, expected - seconds["backward"]), abs=0.1)


def test_waiting_for_collectives_counts_inside_a_step_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    join_processes()
    before, now = Work.wait, [0.0]
    monkeypatch.setattr(meter.time, "perf_counter", lambda: now[0])

    def slow_wait(work: Work, *arguments: object) -> bool:
        now[0] += 3
        return before(work, *arguments)

    monkeypatch.setattr(Work, "wait", slow_wait)
    clock = PhaseClock(CPU)
    with clock.collectives():
        with clock.phase("validation"):
            dist.all_reduce(torch.ones(1))
        dist.all_reduce(torch.ones(1))
        assert clock.seconds()["communication"] == 0
        with clock.phase("update"):
            now[0] += 1
            dist.all_reduce(torch.ones(1))
            dist.all_reduce(torch.ones(1), async_op=True).wait()
    assert (clock.seconds()["update"], clock.seconds()["communication"]) == (1.0, 6.0)
    assert Work.wait is slow_wait
