"""Signals that ask a command to end."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gensr_dist.cli.ending import Ended, ended_by_signals
from gensr_dist.cli.main import main
from gensr_dist.config.root import Config
from gensr_dist.storage.durable import durable_folder

SIGNALS = [signal.SIGTERM, signal.SIGHUP]


@pytest.fixture(autouse=True)
def nobody_hears(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No launcher, and no library that hears signals, as Ray does once it has begun in a process."""
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    before = {number: signal.signal(number, signal.SIG_DFL) for number in SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_command_puts_away_what_it_began_and_says_so(
    number: signal.Signals, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def load(path: Path, overrides: list[str]) -> Config:
        with durable_folder(tmp_path / "result") as folder:
            (folder / "half").write_text("half")
            os.kill(os.getpid(), number)
            time.sleep(5)
        raise AssertionError

    monkeypatch.setattr("gensr_dist.cli.commands.load_config", load)
    assert main(["config", str(tmp_path / "x.yaml")]) == 128 + number
    assert capfd.readouterr().err.startswith(f"gensr: error: ended by {number.name}; the same command goes on")
    assert list(tmp_path.iterdir()) == []
    assert signal.getsignal(number) is signal.SIG_DFL


@pytest.mark.parametrize("number", SIGNALS)
def test_a_forked_process_ends_as_before(number: signal.Signals) -> None:
    reading, writing = os.pipe()
    with ended_by_signals():
        child = os.fork()
        if not child:
            try:
                os.write(writing, b"x")
                time.sleep(30)
            finally:
                os._exit(0)  # whatever comes: it must not go on as a process of tests
        os.read(reading, 1)  # Python forgets signals that come while it forks
        os.kill(child, number)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -number


def test_who_ignores_or_hears_a_signal_already_goes_on_so() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with ended_by_signals():
            os.kill(os.getpid(), signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize(("world", "hears"), [("1", True), ("2", False)])
def test_a_rank_among_others_ends_at_once(world: str, hears: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", world)
    with ended_by_signals():
        assert (signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL) is hears


def test_it_is_an_interrupt() -> None:
    assert isinstance(Ended(signal.SIGTERM), KeyboardInterrupt)
