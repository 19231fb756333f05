"""How a rank ends that has lost another: what it says, at once, whatever its main thread waits for."""

import os
import re
import socket
import sys
from typing import NoReturn

import torch.distributed as dist

from gensr_dist.errors import say_at_once

_REMEDY = "start the same command again: it goes on from the newest checkpoint"
_GLOO = re.compile(r"gloo/transport|pair closure")
_NCCL = re.compile(r"ncclRemoteError|remote process exit")
_LATE = re.compile(r"timed out|timeout", re.IGNORECASE)


def lost_connection(error: Exception) -> str | None:
    """What a collective says of a peer that left it or did not come, in a line; None for an error of another kind."""
    text = str(error)
    if isinstance(error, dist.DistNetworkError | dist.DistStoreError) or _GLOO.search(text) or _NCCL.search(text):
        reason = re.sub(r"^\[[^]]*\]\s*", "", text.splitlines()[0]).partition(". This is")[0]
        if _LATE.search(reason):
            return f"another rank did not come to a collective in time ({reason}); it stands still or never started"
        return f"the connection to another rank is lost ({reason}); its process or machine is gone"
    return None


def end_process(rank: int, problem: str) -> NoReturn:
    """Say why and end at once: the main thread may be inside a collective that never returns."""
    say_at_once(f"rank {rank} on {socket.gethostname()}: {problem}; {_REMEDY}")
    sys.stdout.flush()
    os._exit(1)
