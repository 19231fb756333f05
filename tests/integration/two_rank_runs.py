"""Configs and processes of trainings on two ranks."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from gensr_dist.config.root import load_config
from gensr_dist.runs.folder import RunFolder
from gensr_dist.train.loop import train

STEPS = 4  # of a short training
VALIDATED = 7  # rows a task
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m"]
_SECONDS = 280
_OF_A_LAUNCHER = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")


def write_config(prepared: RunFolder, name: str, *, dropout: float = 0.0, **train: object) -> Path:
    """The config of a run beside `prepared` on its shards and CF vectors."""
    folder = prepared.root.parent / name
    settings = {
        "run": str(folder),
        "data": {"history": 4, "train_negatives": 2},
        "lightgcn": {"width": 8},
        "model": {"cf_heads": 2, "semantic_history": "pooled", "dropout": dropout},
        "train": {
            "batch": 8,
            "warmup_steps": 1,
            "validate_rows": VALIDATED,  # odd: the ranks have unequal shares
            "log_every": 1,
            "workers": 1,
            **train,
        },
    }
    folder.mkdir()
    (folder / "shards").symlink_to(prepared.root / "shards")
    (folder / "cf").symlink_to(prepared.cf)
    (folder / "channels").symlink_to(prepared.channels)
    path = folder / "given.yaml"
    path.write_text(yaml.safe_dump(settings))
    return path


def short_config(prepared: RunFolder, name: str, **train: object) -> Path:
    """`write_config` of a training of `STEPS` steps without dropout."""
    settings = {"validate_every": 2, "checkpoint_every": STEPS, "contrastive_weight": 0.5, **train}
    return write_config(prepared, name, steps=STEPS, **settings)


def train_with(launcher: Sequence[str], config: Path) -> RunFolder:
    """Train a short config to the end in processes of their own."""
    done = launch([*launcher, "gensr_dist", "train", str(config)])
    assert done.returncode == 0, done.stderr[-4_000:]
    assert done.stdout.count(f"trained {STEPS} steps") == 1  # rank 0 alone speaks
    return RunFolder(config.parent)


def train_alone(config: Path) -> RunFolder:
    """Train a short config to the end in this process, whose imports are made."""
    run = RunFolder(config.parent)
    train(load_config(config), run)
    return run


def curve(run: RunFolder, tag: str) -> list[float]:
    events = EventAccumulator(str(run.tensorboard))
    events.Reload()
    return [point.value for point in events.Scalars(tag)]


def launch(arguments: Sequence[str], environment: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """`python ARGUMENTS`, as if no launcher had started this process."""
    own = {name: value for name, value in os.environ.items() if name not in _OF_A_LAUNCHER}
    return subprocess.run(
        [sys.executable, *arguments],
        env={**own, "OMP_NUM_THREADS": "1", **(environment or {})},
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
    )
