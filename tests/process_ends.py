"""Whether processes that a test has killed are gone."""

import time
from pathlib import Path


def has_ended(process: int) -> bool:
    """Whether a process is gone, or waits for somebody to take note."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):  # gone before the file was opened, or before it was read
        return True


def ends(process: int) -> bool:
    """Whether a process is gone within a minute: a killed one lives on until it gets a core."""
    until = time.monotonic() + 60
    while not has_ended(process):
        if time.monotonic() > until:
            return False
        time.sleep(0.01)
    return True
