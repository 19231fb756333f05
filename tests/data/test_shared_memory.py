import errno
import os

import pytest

from gensr_dist.data import shared_memory
from gensr_dist.errors import InputError

# What torch says of a /dev/shm without room.
FULL = "unable to allocate shared memory(shm) for file </torch_7_8_0>: No space left on device (28)"


@pytest.mark.parametrize("error", [RuntimeError(FULL), OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))])
def test_what_is_full_is_named_with_its_size(error: Exception) -> None:
    with pytest.raises(InputError) as caught, shared_memory.enough_shared_memory("set train.workers to 0"):
        raise error
    assert caught.value.where == "/dev/shm"
    assert " MB for what processes of this machine share; give it more (docker run --shm-size=2g), or set" in str(
        caught.value
    )


@pytest.mark.parametrize("error", [RuntimeError("a bug"), OSError(errno.EMFILE, "Too many open files")])
def test_other_errors_stay(error: Exception) -> None:
    with pytest.raises(type(error)) as caught, shared_memory.enough_shared_memory("x"):
        raise error
    assert caught.value is error
