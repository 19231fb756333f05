"""launch/torchrun.sh starts all ranks again when one is killed; training ends with the losses of an undisturbed one."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from gensr_dist.runs.folder import RunFolder
from tests.forked_ranks import run_forked
from tests.launch.launch_folder import LAUNCH
from tests.waiting import becomes

STEPS = 30
LAUNCHER = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")


def write_config(small_run: RunFolder, name: str) -> Path:
    folder = small_run.root.parent / name
    folder.mkdir()
    (folder / "shards").symlink_to(small_run.root / "shards")
    (folder / "cf").symlink_to(small_run.cf)
    (folder / "channels").symlink_to(small_run.channels)
    settings = {
        "run": str(folder),
        "data": {"history": 4, "train_negatives": 1},
        "lightgcn": {"width": 8},
        "model": {"cf_heads": 2, "semantic_history": "pooled"},
        "train": {
            "steps": STEPS,
            "batch": 8,
            "warmup_steps": 1,
            "validate_every": STEPS,
            "validate_rows": 4,
            "checkpoint_every": 3,
            "log_every": 1,
            "workers": 0,
        },
    }
    path = folder / "given.yaml"
    path.write_text(yaml.safe_dump(settings))
    return path


def start(config: Path, root: Path) -> subprocess.Popen[bytes]:
    """Two ranks, through a copy of the script that finds this interpreter's torchrun and package."""
    if not (root / "launch").exists():
        shutil.copytree(LAUNCH, root / "launch")
    environment = {name: value for name, value in os.environ.items() if name not in LAUNCHER}
    environment |= {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(LAUNCH.parent),
        "OMP_NUM_THREADS": "1",
        "RANKS": "2",
    }
    with (config.parent / "log.txt").open("wb") as log:
        return subprocess.Popen(
            ["bash", str(root / "launch" / "torchrun.sh"), str(config)],
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
        )


def rank_process(launcher: int, rank: int) -> psutil.Process:
    (found,) = [
        child
        for child in psutil.Process(launcher).children(recursive=True)
        if child.cmdline()[1:4] == ["-u", "-m", "gensr_dist"] and child.environ().get("RANK") == str(rank)
    ]
    return found


def losses(config: Path) -> dict[int, float]:
    events = EventAccumulator(str(RunFolder(config.parent).tensorboard))
    events.Reload()
    points = events.Scalars("loss/total")
    assert [point.step for point in points] == list(range(1, STEPS + 1))
    return {point.step: point.value for point in points}


def test_a_killed_rank_is_started_again_and_nothing_is_lost(small_run: RunFolder, tmp_path: Path) -> None:
    undisturbed, killed = write_config(small_run, "undisturbed"), write_config(small_run, "killed")
    assert run_forked(["gensr_dist", "train", str(undisturbed)], ranks=2).returncode == 0

    torchrun = start(killed, tmp_path)
    log = killed.parent / "log.txt"
    try:
        assert becomes(lambda: "step 7/" in log.read_text() or torchrun.poll() is not None, 250)
        assert torchrun.poll() is None, log.read_text()[-3_000:]
        rank_process(torchrun.pid, 1).send_signal(signal.SIGKILL)
        assert torchrun.wait(timeout=200) == 0, log.read_text()[-3_000:]
    finally:
        for process in (
            (*psutil.Process(torchrun.pid).children(recursive=True), torchrun) if torchrun.poll() is None else ()
        ):
            process.kill()
    assert "resuming after step" in log.read_text()
    assert losses(killed) == losses(undisturbed)
