"""Locks on files. They go with the process that holds them, however it ends."""

import errno
import fcntl
from typing import IO, Any

from gensr_dist.errors import InputError

_HELD = (errno.EWOULDBLOCK, errno.EACCES)  # the latter where a network file system plays them


def lock(file: IO[Any], *, wait: bool) -> bool:
    """Lock an open file until it is closed; False where another process has it and nobody waits.

    Raises:
        InputError: its file system has no locks, as some that are mounted over a network or from an object store.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError as error:
        if error.errno in _HELD and not wait:
            return False
        problem = f"its file system locks no files ({error.strerror}), and two starts would spoil each other's work"
        remedy = "mount it with locks (NFS: lockd, Lustre: flock), or use another"
        raise InputError(file.name, problem, remedy) from None
    return True
