import os
import signal
import time

from gensr_dist.data.forks import die_with_parent
from tests.waiting import becomes, has_ended


def test_a_killed_process_takes_its_forks_along() -> None:
    reading, writing = os.pipe()
    parent = os.fork()
    if not parent:
        forked_by = os.getpid()
        if not os.fork():
            die_with_parent(forked_by)
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
        die_with_parent(os.getpid())  # another process than the one that forked it
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(fork, 0)[1]) == 1
