"""Two ranks; one hangs, or is asked to end: the run ends like one that nobody disturbed.

One that dies: tests/launch/test_torchrun_restarts.py.
"""

import json
import subprocess
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from gensr_dist.runs.folder import RunFolder
from gensr_dist.train.events import VARIABLE, events_path, read_events
from gensr_dist.train.replay import replay
from tests.forked_ranks import run_forked
from tests.integration.two_rank_runs import launch, write_config

STEPS = 8
RANK_PROGRAM = Path(__file__).with_name("misbehaving_rank.py")


@pytest.fixture(scope="module")
def base(small_run_of_module: RunFolder) -> RunFolder:
    """Shards, channels and CF vectors for the runs of this module."""
    return small_run_of_module


def disturbed_config(prepared: RunFolder, name: str, **train: object) -> Path:
    settings = {"steps": STEPS, "validate_every": 4, "checkpoint_every": 2, "contrastive_weight": 0.1, "zero_stage": 2}
    return write_config(prepared, name, dropout=0.1, **{**settings, **train})


def start(config: Path, what: str, step: int) -> subprocess.CompletedProcess[str]:
    """Without a launcher, which would have nothing to do."""
    program = ["tests.integration.misbehaving_rank", what, str(step), "1", str(config)]
    return run_forked(program, ranks=2, env={VARIABLE: str(config.parent / "events")})


def start_again(config: Path, what: str, step: int) -> subprocess.CompletedProcess[str]:
    """With torchrun, which starts all ranks once more when one has ended."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "--max_restarts", "1"]
    return launch(
        [*launcher, str(RANK_PROGRAM), what, str(step), "1", str(config)],
        {
            "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",  # without it no restart finds the others
            "PYTHONPATH": str(Path(__file__).parents[2]),
            VARIABLE: str(config.parent / "events"),
        },
    )


def log(config: Path, rank: int) -> str:
    return (config.parent / "logs" / f"rank_{rank:05d}.log").read_text()


def parameters(config: Path) -> str:
    events = read_events(events_path(config.parent / "events", 0))
    (digest,) = (event.digest for event in events if event.kind == "weights")
    return digest


def losses(config: Path) -> list[tuple[int, float]]:
    events = EventAccumulator(str(config.parent / "tensorboard"))
    events.Reload()
    return [(point.step, point.value) for point in events.Scalars("loss/total")]


@pytest.fixture(scope="module")
def undisturbed(base: RunFolder) -> Path:
    config = disturbed_config(base, "undisturbed")
    done = start(config, "SIGKILL", STEPS + 1)
    assert done.returncode == 0, done.stderr[-3_000:]
    return config


def test_a_hang_is_survived(base: RunFolder, undisturbed: Path) -> None:
    config = disturbed_config(base, "hang", stall_minutes=0.4)
    done = start_again(config, "hang", 6)
    assert done.returncode == 0, done.stderr[-3_000:]
    assert log(config, 0).count(" start: rank 0 of 2") == 2
    assert "resuming after step 4 of 8" in log(config, 0)
    assert parameters(config) == parameters(undisturbed)
    assert losses(config) == losses(undisturbed)
    assert [step for step, _ in losses(config)] == list(range(1, STEPS + 1))
    assert "in misbehaving" in log(config, 1)
    assert "nothing happened for 0.4 minutes since the end of step 5" in log(config, 1)
    assert "nothing happened for 0.4 minutes" in log(config, 0)  # it waits in a collective
    assert "in backward" in log(config, 0) or "in all_gather" in log(config, 0)
    assert "Thread 0x" in done.stderr


def test_a_signal_to_one_rank_ends_all_with_a_checkpoint(base: RunFolder, undisturbed: Path) -> None:
    config = disturbed_config(base, "signal", checkpoint_every=100)
    done = start(config, "SIGUSR1", 3)
    assert done.returncode == 0, done.stderr[-3_000:]
    assert done.stdout.count("stopped after step 3 of 8 (SIGUSR1); a checkpoint is saved") == 1
    assert [path.name for path in (config.parent / "checkpoints").glob("step_*")] == ["step_00000003"]
    done = start(config, "SIGKILL", STEPS + 1)
    assert done.returncode == 0, done.stderr[-3_000:]
    assert done.stdout.count("trained 8 steps") == 1
    assert parameters(config) == parameters(undisturbed)
    assert losses(config) == losses(undisturbed)


def test_the_rank_of_a_bad_gradient_is_named_and_replayed(base: RunFolder) -> None:
    config = disturbed_config(base, "poison")
    done = start(config, "poison", 3)
    assert done.returncode != 0
    assert "is not finite at step 3 (rank" in done.stderr
    record = json.loads((config.parent / "not_finite" / "record.json").read_text())
    assert (record["step"], record["ranks"], record["what"]) == (3, 2, "loss")
    assert sorted(path.name for path in (config.parent / "checkpoints").glob("step_*")) == ["step_00000002"]
    replayed = replay(RunFolder(config.parent))  # here nothing is poisoned
    assert replayed.rows == tuple(record["rows"])
    assert replayed.origin is None
    assert not replayed.same_losses
