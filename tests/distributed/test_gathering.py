"""Who waits says for whom: ranks in processes of their own, and short waits."""

import subprocess
import sys
import time

import pytest

from gensr_dist.bench.ports import free_port
from gensr_dist.distributed import gathering
from gensr_dist.distributed.gathering import Gathering

RANK = """
import os, sys
rank, world, port = sys.argv[1:]
os.environ.update(RANK=rank, WORLD_SIZE=world, LOCAL_RANK="0", MASTER_ADDR="127.0.0.1", MASTER_PORT=port)
from gensr_dist.distributed import gathering
from gensr_dist.distributed.ranks import join_processes
gathering.FIRST, gathering.AGAIN = 0.5, 0.5
ranks = join_processes()
print("together", flush=True)
ranks.wait()
"""


def start(rank: int, world: int, port: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", RANK, str(rank), str(world), str(port)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def next_line(process: subprocess.Popen[str], beginning: str) -> str:
    assert process.stderr is not None
    while line := process.stderr.readline():
        if line.startswith(beginning):
            return line
    raise AssertionError(f"no line begins with {beginning!r}")


def test_the_first_rank_names_the_others_and_all_go_on_when_they_come() -> None:
    port = free_port()
    first = start(0, 3, port)
    started = [first]
    try:
        line = next_line(first, "rank 0 of 3 on ")
        while "where nobody answers" in line:  # its own store is not there yet
            line = next_line(first, "rank 0 of 3 on ")
        assert f" waits for 2 other ranks at 127.0.0.1:{port}: 1, 2; start them with that address, or, to work" in line
        started.append(start(2, 3, port))
        while "for 1 other rank" not in line:
            line = next_line(first, "rank 0 of 3 on ")
        assert f" waits for 1 other rank at 127.0.0.1:{port}: 1; start it with that address, or, to work alone" in line
        assert f" waits for 1 other rank at 127.0.0.1:{port}: 1; " in next_line(started[1], "rank 2 of 3 on ")
        started.append(start(1, 3, port))
        for process in started:
            output, errors = process.communicate(timeout=120)
            assert process.returncode == 0, errors
            assert output.endswith("together\n")
    finally:
        for process in started:
            process.kill()


def test_without_the_first_rank_the_address_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gathering, "FIRST", 0.2)
    monkeypatch.setattr(gathering, "AGAIN", 0.2)
    monkeypatch.setattr(gathering, "_TRY", 0.1)
    said: list[str] = []
    port = free_port()
    with Gathering("127.0.0.1", port, 1, 2, said.append):
        while len(said) < 2:
            time.sleep(0.05)
    assert f" waits for rank 0 at 127.0.0.1:{port}, where nobody answers; start it there, or, to work alone" in said[1]
    heard = len(said)
    time.sleep(0.5)
    assert len(said) <= heard + 1


def test_a_rank_alone_waits_for_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gathering, "FIRST", 0.01)
    said: list[str] = []
    with Gathering("127.0.0.1", 1, 0, 1, said.append):
        time.sleep(0.1)
    assert said == []
