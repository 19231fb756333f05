"""A rank that stops answering ends the others, and each says which rank it was."""

import signal
import socket
import subprocess
import sys
import time

import pytest
import torch.distributed as dist

from gensr_dist.bench.ports import free_port
from gensr_dist.distributed.heartbeat import Heartbeat

# A rank that waits forever in the main thread, as in a collective.
RANK = """
import sys, time
import torch.distributed as dist
from gensr_dist.distributed import heartbeat as peers

rank, port = int(sys.argv[1]), int(sys.argv[2])
peers.INTERVAL, peers.SILENCE = 0.1, 8.0
store = dist.TCPStore("127.0.0.1", port, is_master=True, wait_for_workers=False) if rank == 0 else None
watch = peers.Heartbeat("127.0.0.1", port, 5, rank, 3)
print("here", flush=True)
time.sleep(600)
"""


def start_three() -> list[subprocess.Popen[str]]:
    port = free_port()
    started = []
    for rank in range(3):
        process = subprocess.Popen(
            [sys.executable, "-c", RANK, str(rank), str(port)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
    for process in started:
        assert process.stdout is not None
        assert process.stdout.readline() == "here\n"
    return started


@pytest.mark.parametrize("lost", [0, 2])
@pytest.mark.parametrize("how", [signal.SIGSTOP, signal.SIGKILL])
def test_a_silent_rank_ends_all_others_by_name(lost: int, how: signal.Signals) -> None:
    ranks = start_three()
    try:
        time.sleep(1)
        assert all(process.poll() is None for process in ranks)
        ranks[lost].send_signal(how)  # stopped, its connections stay open: like a machine without network
        for rank, process in enumerate(ranks):
            if rank != lost:
                _, message = process.communicate(timeout=200)
                assert process.returncode == 1
                last = message.splitlines()[-1]  # torch may complain of the store before
                host = socket.gethostname()
                assert last.startswith(f"rank {rank} on {host}: rank {lost} ({host}) has given no sign of life")
                assert "start the same command again" in last
    finally:
        for process in ranks:
            process.kill()
            process.communicate()


def test_who_leaves_after_stop_is_not_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gensr_dist.distributed.heartbeat.INTERVAL", 0.05)
    monkeypatch.setattr("gensr_dist.distributed.heartbeat.SILENCE", 3.0)
    port = free_port()
    store = dist.TCPStore("127.0.0.1", port, is_master=True, wait_for_workers=False)
    watch = Heartbeat("127.0.0.1", port, 1, rank=0, world=1)
    other = Heartbeat("127.0.0.1", port, 1, rank=1, world=2)
    time.sleep(4.0)  # rank 1 hears of rank 0 all the time
    other.stop()
    watch.stop()
    for thread in (*watch.threads, *other.threads):
        thread.join(60)
        assert not thread.is_alive()
    time.sleep(4.0)  # this process would be gone
    del store
