"""Requests to end a run before its last step: SIGTERM, SIGHUP, SIGUSR1, or a spent time budget.

Launchers and Slurm send a signal before they kill, and a terminal that is closed sends SIGHUP. Training then finishes
its step, saves a checkpoint and leaves with exit code 0. A signal reaches the ranks at different moments or only some
of them, so that they agree once a step, in the same reduction in which they agree that the losses are finite
(`objective.StepCheck`).
"""

import signal
import threading
import time
from enum import IntEnum
from types import FrameType, TracebackType
from typing import Any

from typing_extensions import Self


class Stop(IntEnum):
    """Why to end; of several reasons on several ranks the largest counts."""

    NO = 0
    BUDGET = 1
    USR1 = 2
    HUP = 3
    TERM = 4

    def __str__(self) -> str:
        return ("nothing", "train.max_hours is used up", "SIGUSR1", "SIGHUP", "SIGTERM")[self]


_SIGNALS = {signal.SIGTERM: Stop.TERM, signal.SIGHUP: Stop.HUP, signal.SIGUSR1: Stop.USR1}


class StopRequest:
    """Notes the signals that ask this process to end, and the time that it may take.

    Python's main thread must make it: only that one may set signal handlers. In another thread it notes no signals.

    Args:
        max_hours: budget of this start of the run, counted from now; 0 for none.
        decides: whether this rank looks at the clock, which one rank does for all.
    """

    def __init__(self, max_hours: float, decides: bool) -> None:
        self.deadline = time.monotonic() + max_hours * 3600 if max_hours and decides else None
        self._signalled = Stop.NO
        self._before: dict[signal.Signals, Any] = {}
        if threading.current_thread() is threading.main_thread():
            ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN  # `nohup` means to go on
            heard = [number for number in _SIGNALS if not (number == signal.SIGHUP and ignored)]
            self._before = {number: signal.signal(number, self._note) for number in heard}

    @property
    def reason(self) -> Stop:
        """What this rank knows of; others may know more."""
        late = self.deadline is not None and time.monotonic() >= self.deadline
        return max(self._signalled, Stop.BUDGET if late else Stop.NO)

    def close(self) -> None:
        """Put the earlier handlers back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._signalled = max(self._signalled, _SIGNALS[signal.Signals(number)])
