import gc
import os
import signal
import time

from gensr_dist.data.child_processes import begin_child
from tests.waiting import becomes, has_ended


def test_a_killed_process_takes_its_forks_along() -> None:
    reading, writing = os.pipe()
    parent = os.fork()
    if not parent:
        forked_by = os.getpid()
        if not os.fork():
            begin_child(forked_by)
            os.write(writing, str(os.getpid()).encode())
        time.sleep(600)
        os._exit(0)
    fork = int(os.read(reading, 20))
    assert not has_ended(fork)
    os.kill(parent, signal.SIGKILL)
    os.waitpid(parent, 0)
    assert becomes(lambda: has_ended(fork))


def test_a_fork_whose_parent_is_gone_already_ends_at_once() -> None:
    fork = os.fork()
    if not fork:
        begin_child(os.getpid())  # another process than the one that forked it
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(fork, 0)[1]) == 1


class Ends:
    """Garbage only for the collector, which tells of its end."""

    def __init__(self, pipe: int) -> None:
        self.pipe, self.own = pipe, self

    def __del__(self) -> None:
        os.write(self.pipe, b"x")


def test_a_fork_does_not_end_what_its_parent_has_dropped() -> None:
    """A gloo process group that ends in a forked process waits for threads which are not there."""
    reading, writing = os.pipe()
    gc.disable()
    try:
        Ends(writing)
        fork = os.fork()
        if not fork:
            begin_child(os.getppid())
            gc.collect()
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(fork, 0)[1]) == 0
        os.write(writing, b"y")
        assert os.read(reading, 10) == b"y"
    finally:
        gc.enable()
    gc.collect()
    assert os.read(reading, 10) == b"x"
