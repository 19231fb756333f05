"""Each case ends its process, so that it runs in one of its own."""

import subprocess
import sys
from pathlib import Path

import pytest

from gensr_dist.distributed.watchdog import STALLED, Watchdog

HEAD = """
import sys, time, ctypes
from pathlib import Path
from gensr_dist.distributed.watchdog import Watchdog
"""


def run(program: str, log: Path, *more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", HEAD + program, str(log), *more],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_a_rank_that_stands_still_shows_its_stacks_and_ends(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "rank_00003.log"
    done = run(
        """
def stand_still():
    time.sleep(90)
watchdog = Watchdog(0.5, Path(sys.argv[1]), 3)
watchdog.beat("step 7")
stand_still()
""",
        log,
    )
    assert done.returncode == STALLED
    for text in (done.stderr, log.read_text()):
        assert "rank 3: nothing happened for 0.00833 minutes since step 7" in text
        assert "in stand_still" in text
        assert "in _watch" in text  # every thread


def test_a_rank_that_works_goes_on(tmp_path: Path) -> None:
    done = run(
        """
with Watchdog(5.0, Path(sys.argv[1]), 0) as watchdog:
    for step in range(30):
        watchdog.beat(f"step {step}")
        time.sleep(0.25)
time.sleep(7)
print("whole")
""",
        tmp_path / "log",
    )
    assert (done.returncode, done.stdout) == (0, "whole\n"), done.stderr
    assert (tmp_path / "log").read_text() == ""


def test_a_main_thread_that_keeps_the_interpreter_to_itself_is_ended_too(tmp_path: Path) -> None:
    done = run(
        """
def keep_the_lock():
    ctypes.PyDLL(None).sleep(90)
watchdog = Watchdog(0.5, Path(sys.argv[1]), 0)
keep_the_lock()
""",
        tmp_path / "log",
    )
    assert done.returncode == 1
    assert "in keep_the_lock" in (tmp_path / "log").read_text()


@pytest.mark.parametrize("stands_still", ["the other", "none"])
def test_it_sees_through_a_blocked_collective(tmp_path: Path, stands_still: str) -> None:
    program = """
import torch.distributed as dist
rank, stands_still = int(sys.argv[2]), sys.argv[3]
dist.init_process_group("gloo", init_method=f"file://{Path(sys.argv[1]).parent}/store", rank=rank, world_size=2)
watchdog = Watchdog(15.0 if rank == 0 else 25.0, Path(f"{sys.argv[1]}{rank}"), rank)  # the waiting one sees it first
def meet():
    dist.barrier()
meet()
watchdog.beat("the second meeting")
if rank == 1 and stands_still == "the other":
    time.sleep(90)
meet()
watchdog.close()
"""
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", HEAD + program, str(tmp_path / "log"), str(rank), stands_still],
            stderr=subprocess.DEVNULL,
        )
        for rank in range(2)
    ]
    codes = [process.wait(timeout=300) for process in ranks]
    assert codes == ([STALLED, STALLED] if stands_still == "the other" else [0, 0])
    if stands_still == "the other":
        assert "in meet" in (tmp_path / "log0").read_text()
        assert "since the second meeting" in (tmp_path / "log1").read_text()


def test_closing_ends_its_thread(tmp_path: Path) -> None:
    watchdog = Watchdog(100.0, tmp_path / "log", 0)
    watchdog.close()
    assert not watchdog._thread.is_alive()
