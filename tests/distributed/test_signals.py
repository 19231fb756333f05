import os
import signal
import threading

import pytest

from gensr_dist.config.root import Config
from gensr_dist.data.config import DataConfig
from gensr_dist.distributed.signals import Stop, StopRequest
from gensr_dist.errors import Paused
from gensr_dist.model.config import ModelConfig
from gensr_dist.runs.folder import RunFolder
from gensr_dist.train.config import TrainConfig
from gensr_dist.train.loop import train


@pytest.mark.parametrize(
    ("number", "stop"), [(signal.SIGTERM, Stop.TERM), (signal.SIGUSR1, Stop.USR1), (signal.SIGHUP, Stop.HUP)]
)
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


def test_a_hangup_that_is_ignored_stays_ignored() -> None:
    """As `nohup` starts a command."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopRequest(0.0, decides=True) as request:
            os.kill(os.getpid(), signal.SIGHUP)
            assert request.reason is Stop.NO
            os.kill(os.getpid(), signal.SIGTERM)
            assert request.reason is Stop.TERM
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


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


def test_a_spent_budget_saves_a_checkpoint_and_the_next_start_goes_on(small_run: RunFolder) -> None:
    config = Config(
        data=DataConfig(history=4, train_negatives=2),
        model=ModelConfig(cf_heads=2, semantic_history="pooled"),
        train=TrainConfig(
            steps=3, batch=8, warmup_steps=1, validate_rows=4, log_every=1, workers=0, max_hours=1e-9
        ),
    )  # fmt: skip
    for step in (1, 2):
        with pytest.raises(Paused, match=rf"stopped after step {step} of 3 \(train\.max_hours is used up\)"):
            train(config, small_run)
        assert (small_run.checkpoints / f"step_{step:08d}").is_dir()
    assert train(config, small_run).steps == 3  # the last step is no pause
    log = (small_run.logs / "rank_00000.log").read_text()
    assert log.count("time ") == 3
    assert log.count("end: Paused") == 2
    assert "Traceback" not in log
