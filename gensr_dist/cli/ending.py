"""SIGTERM and SIGHUP as interrupts: what a command began is put away or kept, its processes end, and one line says so.

A training hears them itself while it lasts, finishes its step and saves (`distributed.signals`).
"""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_HEARD = {signal.SIGTERM: "ended by SIGTERM", signal.SIGHUP: "ended by SIGHUP"}


class Ended(KeyboardInterrupt):
    """A signal asked this process to end."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.name = _HEARD[signal.Signals(number)]
        self.code = 128 + number  # as a shell gives it


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Raise `Ended` at the first such signal in this block; a second one ends the process at once.

    It does so anyway in processes that are forked meanwhile, and in ranks among others: these wait for each other in
    libraries that hear no signal. Who ignores a signal, as `nohup` does, or hears it already, goes on so.
    """
    alone = os.environ.get("WORLD_SIZE", "1") == "1"
    hears = alone and threading.current_thread() is threading.main_thread()  # where Python runs handlers
    heard = [number for number in _HEARD if hears and signal.getsignal(number) is signal.SIG_DFL]
    owner = os.getpid()

    def end(number: int, frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)
        if os.getpid() == owner:
            raise Ended(number)
        os.kill(os.getpid(), number)

    for number in heard:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in heard:
            signal.signal(number, signal.SIG_DFL)
