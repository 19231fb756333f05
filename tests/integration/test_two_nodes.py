"""`launch/two_nodes.sh --fail`: two nodes over ssh and gloo; a lost node ends the job, which then goes on unharmed."""

import os
import re
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

SCRIPT = Path(__file__).parents[2] / "launch" / "two_nodes.sh"
CANNOT = 77  # its exit code where root, a tool or network namespaces are missing
LAUNCHER = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
STEPS = 24
CHECKPOINT_EVERY = 4


def losses(run: Path) -> list[tuple[int, float]]:
    events = EventAccumulator(str(run / "tensorboard"))
    events.Reload()
    return [(point.step, point.value) for point in events.Scalars("loss/total")]


@pytest.mark.timeout(1_000)
def test_a_job_that_loses_a_node_says_so_and_goes_on_where_it_was(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in LAUNCHER}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    done = subprocess.run(
        # SIGTERM first: the script takes its namespaces down.
        ["timeout", "--kill-after=30", "900", "bash", str(SCRIPT), "--fail", "--folder", str(tmp_path / "two_nodes")],
        env=environment,
        capture_output=True,
        text=True,
        timeout=960,
        check=False,
    )
    if done.returncode == CANNOT:
        pytest.skip(done.stderr.splitlines()[-1])
    assert done.returncode == 0, done.stdout[-6_000:] + done.stderr[-3_000:]

    rows = {
        line.split()[0]: line.split() for line in done.stdout.splitlines() if line.startswith(("killed ", "unplug"))
    }
    last = 0
    for how in ("killed", "unplugged"):
        _, lost_after, seconds, _, resumed_after = rows[how]
        assert float(seconds) <= 60
        # The newest checkpoint; the node may have fallen a step or two after the log showed the step.
        assert int(resumed_after) % CHECKPOINT_EVERY == 0
        assert max(last, int(lost_after) - CHECKPOINT_EVERY) < int(resumed_after) < STEPS
        last = int(resumed_after)
    assert done.stdout.count("start the same command again") == 2

    curve = losses(tmp_path / "two_nodes" / "interrupted")
    assert [step for step, _ in curve] == list(range(1, STEPS + 1))
    assert curve == losses(tmp_path / "two_nodes" / "reference")
    assert len({value for _, value in curve}) == STEPS
    leftovers = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout
    makers = [int(number) for number in re.findall(r"^gensr-(\d+)-[01]", leftovers, flags=re.MULTILINE)]
    assert all(psutil.pid_exists(maker) for maker in makers)  # others may run it at the same time
