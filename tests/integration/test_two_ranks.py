"""Two processes train like one: same losses, same weights, for plain data parallelism and ZeRO."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from gensr_dist.model.gensr import GenSR
from gensr_dist.run_folder import RunFolder

STEPS = 4
SECONDS = 280


def write_config(run: RunFolder, name: str, **train: object) -> Path:
    settings = {
        "run": str(run.root.parent / name),
        "data": {"history": 4, "train_negatives": 2},
        "lightgcn": {"width": 8},
        "model": {"cf_heads": 2, "semantic_history": "pooled", "dropout": 0.0},
        "train": {
            "steps": STEPS,
            "batch": 8,
            "warmup_steps": 1,
            "validate_every": 2,
            "validate_rows": 7,  # odd: the ranks have unequal shares
            "checkpoint_every": STEPS,
            "log_every": 1,
            "workers": 1,
            "contrastive_weight": 0.5,
            **train,
        },
    }
    folder = Path(str(settings["run"]))
    folder.mkdir()
    (folder / "shards").symlink_to(run.root / "shards")
    (folder / "cf").symlink_to(run.cf)
    path = folder / "given.yaml"
    path.write_text(yaml.safe_dump(settings))
    return path


def start(launcher: list[str], config: Path) -> RunFolder:
    """Train to the end in processes of their own."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
    }
    done = subprocess.run(
        [sys.executable, *launcher, "gensr_dist.train", str(config)],
        env={**environment, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4_000:]
    assert done.stdout.count("trained 4 steps") == 1  # rank 0 alone speaks
    return RunFolder(config.parent)


TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m"]
DEEPSPEED = ["-m", "deepspeed.launcher.runner", "--num_accelerators", "2", "--module"]


def curve(run: RunFolder, tag: str) -> list[float]:
    events = EventAccumulator(str(run.tensorboard))
    events.Reload()
    return [point.value for point in events.Scalars(tag)]


@pytest.fixture
def one_rank(small_run: RunFolder) -> RunFolder:
    return start(["-m"], write_config(small_run, "one"))


def test_two_ranks_have_the_loss_curve_of_one(small_run: RunFolder, one_rank: RunFolder) -> None:
    runs = {
        "plain": start(TORCHRUN, write_config(small_run, "plain")),
        "zero2": start(TORCHRUN, write_config(small_run, "zero2", zero_stage=2)),
    }
    for name, run in runs.items():
        for tag in ("loss/task", "loss/contrastive", "loss/total", "optimizer/gradient_norm"):
            expected = curve(one_rank, tag)
            assert len(expected) == STEPS
            assert curve(run, tag) == pytest.approx(expected, rel=1e-5, abs=1e-5), (name, tag)
        for tag in ("validation_rec/ndcg@10", "validation_search/ndcg@10"):
            assert curve(run, tag) == pytest.approx(curve(one_rank, tag)), (name, tag)


def test_deepspeed_launcher_and_zero3_validate_and_export(small_run: RunFolder) -> None:
    run = start(DEEPSPEED, write_config(small_run, "zero3", zero_stage=3))
    assert len(curve(run, "loss/total")) == STEPS
    assert len(curve(run, "validation/mean_ndcg@10")) == 2
    assert sum(weight.numel() for weight in GenSR.from_pretrained(run.model).parameters()) > 0
    assert (run.checkpoints / f"step_{STEPS:08d}" / "state.json").exists()
