import os
import signal
import threading

import pytest

from gensr_dist.train.signals import Stop, StopRequest


@pytest.mark.parametrize(("number", "stop"), [(signal.SIGTERM, Stop.TERM), (signal.SIGUSR1, Stop.USR1)])
def test_a_signal_is_noted_and_does_not_end_the_process(number: signal.Signals, stop: Stop) -> None:
    before = signal.getsignal(number)
    with StopRequest(0.0, decides=True) as request:
        assert request.reason is Stop.NO
        os.kill(os.getpid(), number)
        assert request.reason is stop
        assert str(request.reason) == number.name
    assert signal.getsignal(number) == before


def test_the_weightier_signal_stays() -> None:
    with StopRequest(0.0, decides=False) as request:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGUSR1)
        assert request.reason is Stop.TERM


def test_only_the_rank_that_decides_looks_at_the_clock() -> None:
    with StopRequest(1e-9, decides=True) as request:
        assert request.reason is Stop.BUDGET
    with StopRequest(1e-9, decides=False) as request:
        assert request.reason is Stop.NO
    with StopRequest(1.0, decides=True) as request:
        assert request.reason is Stop.NO


def test_it_can_be_made_outside_the_main_thread() -> None:
    before = signal.getsignal(signal.SIGTERM)
    made: list[StopRequest] = []
    thread = threading.Thread(target=lambda: made.append(StopRequest(1e-9, decides=True)))
    thread.start()
    thread.join()
    assert made[0].reason is Stop.BUDGET
    assert signal.getsignal(signal.SIGTERM) == before
    made[0].close()
