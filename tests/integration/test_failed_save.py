"""Two ranks, and a disk that takes no more: both end, one line says what is left, and the run goes on later."""

import os
import resource
import signal
import subprocess
import sys

from gensr_dist.run_folder import RunFolder
from gensr_dist.train.checkpoint_folder import damage_of
from tests.integration.test_two_ranks import SECONDS, TORCHRUN, start, write_config

LARGEST = 150_000  # bytes of a file: less than the weights, more than logs and event files


def limit_files() -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (LARGEST, LARGEST))


def test_both_ranks_end_when_a_checkpoint_cannot_be_written(small_run: RunFolder) -> None:
    config = write_config(small_run, "full", zero_stage=1, checkpoint_every=1, validate_every=4)
    environment = {
        name: value for name, value in os.environ.items() if name not in ("RANK", "WORLD_SIZE", "LOCAL_RANK")
    }
    done = subprocess.run(
        [sys.executable, *TORCHRUN, "gensr_dist.train", str(config)],
        env={**environment, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
        preexec_fn=limit_files,
    )
    assert done.returncode != 0
    line = "the checkpoint could not be written (File too large), there is none on the disk"
    assert len([said for said in done.stderr.splitlines() if line in said]) == 2, done.stderr[-4_000:]  # one a rank
    run = start(TORCHRUN, config)
    assert damage_of(run.checkpoints / "step_00000004") is None
