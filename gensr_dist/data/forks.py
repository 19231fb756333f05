"""Forked processes that end when the one that forked them is killed: they would keep its run folder locked."""

import ctypes
import os
import signal

_PR_SET_PDEATHSIG = 1  # of Linux's prctl


def die_with_parent(parent: int) -> None:
    """End this process with its parent.

    Args:
        parent: its process id, as the parent itself knows it.
    """
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # killed before the call
        os._exit(1)
