"""How child processes begin, forked or spawned."""

import ctypes
import gc
import os
import signal

_PR_SET_PDEATHSIG = 1  # of Linux's prctl


def begin_child(parent: int) -> None:
    """Leave to the parent what is the parent's, and end with it: this process would keep its run folder locked.

    Objects of the parent that are garbage by now are not collected here. Some wait forever in a forked process when
    they end, as gloo's process groups do for their threads.

    Args:
        parent: its process id, as the parent itself knows it.
    """
    gc.freeze()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # killed before the call
        os._exit(1)
