"""A rank that stops answering ends the others, and each says which rank it was."""

import signal
import socket
import sys
import time
from pathlib import Path

import pytest
import torch.distributed as dist

from gensr_dist.bench.ports import free_port
from gensr_dist.distributed.heartbeat import Heartbeat
from tests.forked_ranks import ForkedPython
from tests.waiting import becomes


def start_three(folder: Path) -> list[ForkedPython]:
    """Ranks that are there; what they say lies in files named by them."""
    port = str(free_port())
    started = []
    for rank in ("0", "1", "2"):
        command = [sys.executable, "-m", "tests.distributed.silent_rank", rank, port]
        with (folder / f"{rank}.here").open("w") as output, (folder / rank).open("w") as said:
            started.append(ForkedPython(command, stdout=output, stderr=said))
    for rank in range(3):
        assert becomes(lambda rank=rank: (folder / f"{rank}.here").read_text() == "here\n", 100)
    return started


@pytest.mark.parametrize("lost", [0, 2])
@pytest.mark.parametrize("how", [signal.SIGSTOP, signal.SIGKILL])
def test_a_silent_rank_ends_all_others_by_name(lost: int, how: signal.Signals, tmp_path: Path) -> None:
    ranks = start_three(tmp_path)
    try:
        time.sleep(1)
        assert all(process.poll() is None for process in ranks)
        ranks[lost].send_signal(how)  # stopped, its connections stay open: like a machine without network
        for rank, process in enumerate(ranks):
            if rank != lost:
                assert process.wait(200) == 1
                last = (tmp_path / str(rank)).read_text().splitlines()[-1]  # torch may complain of the store before
                host = socket.gethostname()
                assert last.startswith(f"rank {rank} on {host}: rank {lost} ({host}) has given no sign of life")
                assert "start the same command again" in last
    finally:
        for process in ranks:
            process.kill()
            process.wait()


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
