"""Waiting for what another process does, with the patience that a busy machine needs."""

import time
from collections.abc import Callable
from pathlib import Path


def becomes(condition: Callable[[], bool], within_s: float = 200) -> bool:
    """Whether a condition holds before the time is over."""
    until = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(0.01)
    return True


def has_ended(process: int) -> bool:
    """Whether a process is gone, or waits for somebody to take note."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):  # gone before the file was opened, or before it was read
        return True
