"""A watch over a rank that stands still: it shows where every thread is, then ends the process."""

import faulthandler
import os
import sys
import threading
import time
from pathlib import Path
from types import TracebackType

from typing_extensions import Self

STALLED = 75  # exit code, EX_TEMPFAIL of sysexits.h: starting again may help
_LOOKS = 20  # a stall
_LONGEST_LOOK = 5.0  # seconds
_LONGEST_GRACE = 15.0  # seconds


class Watchdog:
    """Ends this process when it has not told of an activity for `stall_seconds`.

    A thread looks, so it also works while the main thread is blocked in a collective, which releases the interpreter's
    lock. For a main thread that never gives the lock back, faulthandler's own thread, which needs no lock, does the
    same after twice the time, and the exit code is then 1. Every rank watches itself; as all stand still when one does,
    each leaves its own stacks, and a short wait before the end lets the slowest of them do so.

    Args:
        stall_seconds: without activity that count as a hang; longer than the longest single thing that training does.
        log: file to which the stacks are appended; they also go to stderr.
        rank: of this process.
    """

    def __init__(self, stall_seconds: float, log: Path, rank: int) -> None:
        self.stall_seconds = stall_seconds
        self.rank = rank
        self._last = (time.monotonic(), "the start")
        self._closed = threading.Event()
        log.parent.mkdir(parents=True, exist_ok=True)
        self._file = log.open("a", encoding="utf-8")
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        self._thread.start()

    def beat(self, doing: str) -> None:
        """Tell that the process is alive.

        Args:
            doing: what it begins now, to be named if it never ends.
        """
        self._last = (time.monotonic(), doing)

    def close(self) -> None:
        """Stop watching."""
        self._closed.set()
        self._thread.join()
        faulthandler.cancel_dump_traceback_later()
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _watch(self) -> None:
        pause = min(self.stall_seconds / _LOOKS, _LONGEST_LOOK)
        while True:
            faulthandler.dump_traceback_later(2 * self.stall_seconds + pause, file=self._file, exit=True)
            if self._closed.wait(pause):
                return
            since, doing = self._last
            if time.monotonic() - since > self.stall_seconds:
                self._end(doing)

    def _end(self, doing: str) -> None:
        minutes = f"{self.stall_seconds / 60:.3g} minutes"
        line = f"rank {self.rank}: nothing happened for {minutes} since {doing}; the job ends. Stacks of all threads:\n"
        for stream in (self._file, sys.__stderr__):
            if stream is not None:
                stream.write(line)
                stream.flush()
                faulthandler.dump_traceback(stream, all_threads=True)
        os.fsync(self._file.fileno())
        time.sleep(min(self.stall_seconds / _LOOKS * 2, _LONGEST_GRACE))
        os._exit(STALLED)  # the main thread may never return, and what it holds is in the last checkpoint
