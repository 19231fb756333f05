"""Two ranks, and a disk that takes no more: both end, one line says what is left, and the run goes on later."""

import resource
import signal

from gensr_dist.runs.folder import RunFolder
from gensr_dist.train.checkpoints import series_in
from tests.forked_ranks import run_forked
from tests.integration.two_rank_runs import short_config, train_alone

LARGEST = 150_000  # bytes of a file: less than the weights, more than logs and event files


def limit_files() -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (LARGEST, LARGEST))


def test_both_ranks_end_when_a_checkpoint_cannot_be_written(small_run: RunFolder) -> None:
    config = short_config(small_run, "full", zero_stage=1, checkpoint_every=1, validate_every=4)
    done = run_forked(["gensr_dist", "train", str(config)], ranks=2, begin=limit_files)
    assert done.returncode != 0
    line = "the checkpoint could not be written (File too large), there is none on the disk"
    assert len([said for said in done.stderr.splitlines() if line in said]) == 2, done.stderr[-4_000:]  # one a rank
    run = train_alone(config)
    assert series_in(run.checkpoints).damage(run.checkpoints / "step_00000004") is None
