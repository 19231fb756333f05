"""The memory that processes of a machine share, which containers keep small: Docker gives 64 MB."""

import errno
import multiprocessing
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from gensr_dist.errors import InputError

PLACE = "/dev/shm"  # noqa: S108  where Linux keeps it
_SAID = "shared memory"  # in torch's message, as in "unable to allocate shared memory(shm) for file ..."


@contextmanager
def enough_shared_memory(remedy: str) -> Iterator[None]:
    """Turn an error of a block that shares tensors or makes queues of processes into a line that says what is full.

    Args:
        remedy: what to set, where it cannot be made larger.

    Raises:
        InputError: there is no space left in /dev/shm.
    """
    try:
        yield
    except (OSError, RuntimeError) as error:
        full = isinstance(error, OSError) and error.errno == errno.ENOSPC
        if not full and _SAID not in str(error):
            raise
        size = f"{shutil.disk_usage(PLACE).total / 1e6:,.3g} MB"
        problem = f"no space left of {size} for what processes of this machine share"
        raise InputError(PLACE, problem, f"give it more (docker run --shm-size=2g), or {remedy}") from None


def require_semaphores(count: int) -> None:
    """Make sure that so many can be made: who runs out in between leaves processes that wait forever.

    Raises:
        OSError: there is no space left in /dev/shm.
    """
    context = multiprocessing.get_context("fork")
    made = [context.Semaphore() for _ in range(count)]
    del made
